"""Labels and help texts only: no SQL is sent."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ifeportal', '0007_audit_via_job'),
    ]

    operations = [
        migrations.AlterField(
            model_name='airline',
            name='archive_after_days',
            field=models.PositiveSmallIntegerField(blank=True, help_text='Days after which a finished load is archived. Empty to use ARCHIVE_AFTER.', null=True),
        ),
        migrations.AlterField(
            model_name='airline',
            name='contact',
            field=models.TextField(blank=True, db_default='', help_text='Contact for this airline, for the staff on duty.', max_length=1000),
        ),
        migrations.AlterField(
            model_name='airline',
            name='discovered',
            field=models.BooleanField(default=False, help_text='Created by the poller from a key, not by a user.'),
        ),
        migrations.AlterField(
            model_name='airline',
            name='logo_tag',
            field=models.CharField(blank=True, db_default='', editable=False, help_text='Hash of the logo; empty without one.', max_length=16),
        ),
        migrations.AlterField(
            model_name='airline',
            name='name',
            field=models.CharField(help_text='As in the bucket keys.', max_length=200, unique=True),
        ),
        migrations.AlterField(
            model_name='airline',
            name='risk_before_hours',
            field=models.PositiveSmallIntegerField(db_default=48, default=48, help_text='Hours before the exhibition starts, from which a load without a forecast is at risk.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(2160)]),
        ),
        migrations.AlterField(
            model_name='airline',
            name='silent_after_hours',
            field=models.PositiveSmallIntegerField(db_default=24, default=24, help_text='Hours without anything new from a tail, after which it is silent.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(2160)]),
        ),
        migrations.AlterField(
            model_name='airline',
            name='stalled_after_minutes',
            field=models.PositiveSmallIntegerField(db_default=10, default=10, help_text='Minutes without a byte, while its loader is alive, after which a load is stalled.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1440)]),
        ),
        migrations.AlterField(
            model_name='airline',
            name='title',
            field=models.CharField(blank=True, help_text='Display name; empty to use the name.', max_length=200),
        ),
        migrations.AlterField(
            model_name='auditentry',
            name='action',
            field=models.CharField(help_text='A code, such as tail.duty or campaign.published.', max_length=60),
        ),
        migrations.AlterField(
            model_name='auditentry',
            name='address',
            field=models.GenericIPAddressField(blank=True, help_text='Address of the client.', null=True),
        ),
        migrations.AlterField(
            model_name='auditentry',
            name='target',
            field=models.CharField(help_text='Display name of the changed object.', max_length=500),
        ),
        migrations.AlterField(
            model_name='job',
            name='failures',
            field=models.PositiveIntegerField(default=0, help_text='Failures in a row; 0 after a success.'),
        ),
        migrations.AlterField(
            model_name='job',
            name='fence',
            field=models.PositiveBigIntegerField(default=0, help_text='Number of runs started.'),
        ),
        migrations.AlterField(
            model_name='job',
            name='found_at',
            field=models.DateTimeField(blank=True, help_text='When a run last found something new.', null=True),
        ),
        migrations.AlterField(
            model_name='job',
            name='steady_since',
            field=models.DateTimeField(blank=True, help_text='Start of the current series of successes without a long gap.', null=True),
        ),
        migrations.AlterField(
            model_name='job',
            name='watched_until',
            field=models.DateTimeField(blank=True, help_text='A page with its results is open until then.', null=True),
        ),
        migrations.AlterField(
            model_name='token',
            name='airline',
            field=models.ForeignKey(blank=True, help_text='Empty for all airlines of the user.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='ifeportal.airline'),
        ),
        migrations.AlterField(
            model_name='token',
            name='may_write',
            field=models.BooleanField(default=False, help_text='Otherwise the token is read-only.'),
        ),
        migrations.AlterField(
            model_name='token',
            name='name',
            field=models.CharField(help_text='Purpose of the token.', max_length=100),
        ),
    ]
