from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("fleet", "0007_found_by_state"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="load",
            index=models.Index(
                condition=models.Q(
                    ("status", "failed"),
                    ("stalled", True),
                    ("at_risk", True),
                    models.Q(("contradiction", ""), _negated=True),
                    _connector="OR",
                ),
                fields=["tail"],
                name="load_needing_attention",
            ),
        ),
        migrations.AddIndex(
            model_name="tail",
            index=models.Index(condition=models.Q(("silent", True)), fields=["airline"], name="tail_silent"),
        ),
    ]
