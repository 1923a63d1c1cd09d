from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('fleet', '0006_awake'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='transfer',
            index=models.Index(fields=['status', 'load', 'content'], name='fleet_trans_status_e02903_idx'),
        ),
        migrations.AddIndex(
            model_name='transfer',
            index=models.Index(condition=models.Q(('error_code', ''), _negated=True), fields=['error_code', 'load', 'content'], name='transfer_by_error'),
        ),
    ]
