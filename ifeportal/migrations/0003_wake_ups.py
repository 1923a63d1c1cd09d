from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ifeportal", "0002_scale")]

    operations = [
        migrations.RemoveField(model_name="job", name="queued_at"),
        migrations.AlterField(
            model_name="job",
            name="fence",
            field=models.PositiveBigIntegerField(default=0, help_text="How often it was begun."),
        ),
        migrations.AlterField(
            model_name="job",
            name="name",
            field=models.CharField(help_text="kind, kind:airline or kind:airline/part", max_length=420, unique=True),
        ),
    ]
