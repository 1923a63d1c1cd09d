"""Labels and help texts only: no SQL is sent."""

import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('campaigns', '0005_draft_requested_by'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name='campaign',
            name='discovered',
            field=models.BooleanField(default=False, help_text='Created by the poller from an object key.'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='extra',
            field=models.JSONField(blank=True, default=dict, help_text='Fields of the manifest that this version does not know.'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='manifest_etag',
            field=models.CharField(blank=True, help_text='ETag of the newest campaign.json that was read.', max_length=200),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='manifest_problem',
            field=models.TextField(blank=True, help_text='Why the newest campaign.json was rejected.'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='signed',
            field=models.BooleanField(db_default=False, default=False, help_text='The bucket has campaign.json.dsse.'),
        ),
        migrations.AlterField(
            model_name='campaign',
            name='withdrawn_at',
            field=models.DateTimeField(blank=True, help_text='When a manager withdrew the campaign.', null=True),
        ),
        migrations.AlterField(
            model_name='contentitem',
            name='name',
            field=models.CharField(help_text='Without .tgz.', max_length=200),
        ),
        migrations.AlterField(
            model_name='contentitem',
            name='sha256',
            field=models.CharField(blank=True, help_text='Hexadecimal. Empty if only the size is checked.', max_length=64),
        ),
        migrations.AlterField(
            model_name='contentitem',
            name='size',
            field=models.BigIntegerField(help_text='Bytes.'),
        ),
        migrations.AlterField(
            model_name='draft',
            name='exhibition_ends',
            field=models.DateField(blank=True, help_text='Last day on which the campaign is shown.', null=True, verbose_name='last day'),
        ),
        migrations.AlterField(
            model_name='draft',
            name='exhibition_starts',
            field=models.DateField(blank=True, help_text='First day on which the campaign is shown.', null=True, verbose_name='first day'),
        ),
        migrations.AlterField(
            model_name='draft',
            name='extra',
            field=models.JSONField(blank=True, default=dict, help_text='Other fields of the manifest, preserved.'),
        ),
        migrations.AlterField(
            model_name='draft',
            name='faults',
            field=models.JSONField(blank=True, default=list, help_text='Problems of the draft itself.'),
        ),
        migrations.AlterField(
            model_name='draft',
            name='faulty_items',
            field=models.PositiveIntegerField(default=0, help_text='Number of items with problems.'),
        ),
        migrations.AlterField(
            model_name='draft',
            name='name',
            field=models.CharField(help_text='Name of its folder in the media bucket, for example 2026-12.', max_length=200, verbose_name='campaign'),
        ),
        migrations.AlterField(
            model_name='draft',
            name='notices',
            field=models.JSONField(blank=True, default=list, help_text='Notes of the last scan or publication.'),
        ),
        migrations.AlterField(
            model_name='draft',
            name='rate_bps',
            field=models.BigIntegerField(blank=True, help_text='Current rate of hashing, bytes per second.', null=True),
        ),
        migrations.AlterField(
            model_name='draft',
            name='requested_at',
            field=models.DateTimeField(blank=True, help_text='When the current work was requested.', null=True),
        ),
        migrations.AlterField(
            model_name='draft',
            name='requested_by',
            field=models.ForeignKey(blank=True, help_text='Who requested the current work.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AlterField(
            model_name='draft',
            name='signed_by',
            field=models.TextField(blank=True, help_text='Ids of the keys that signed the published version.'),
        ),
        migrations.AlterField(
            model_name='draft',
            name='state',
            field=models.CharField(choices=[('editing', 'Incomplete'), ('looking', 'Scanning'), ('hashing', 'Hashing'), ('ready', 'Ready to publish'), ('publishing', 'Publishing'), ('published', 'Published'), ('withdrawing', 'Withdrawing'), ('withdrawn', 'Withdrawn'), ('failed', 'Failed')], default='editing', max_length=11),
        ),
        migrations.AlterField(
            model_name='draft',
            name='title',
            field=models.CharField(blank=True, help_text='Shown instead of the name.', max_length=500),
        ),
        migrations.AlterField(
            model_name='draftitem',
            name='error_text',
            field=models.TextField(blank=True, help_text='Why the item cannot be published.'),
        ),
        migrations.AlterField(
            model_name='draftitem',
            name='in_manifest',
            field=models.BooleanField(default=False, help_text='Listed in the campaign.json of the bucket.', verbose_name='in the manifest'),
        ),
        migrations.AlterField(
            model_name='draftitem',
            name='included',
            field=models.BooleanField(default=False, help_text='Part of the campaign.'),
        ),
        migrations.AlterField(
            model_name='draftitem',
            name='kind',
            field=models.CharField(blank=True, help_text='For example movie, music or map.', max_length=100),
        ),
        migrations.AlterField(
            model_name='draftitem',
            name='modified',
            field=models.DateTimeField(blank=True, help_text='LastModified of the object.', null=True, verbose_name='last modified'),
        ),
        migrations.AlterField(
            model_name='draftitem',
            name='name',
            field=models.CharField(help_text='Without .tgz.', max_length=300),
        ),
        migrations.AlterField(
            model_name='draftitem',
            name='priority',
            field=models.IntegerField(default=0, help_text='Items with a higher priority are loaded first.', validators=[django.core.validators.MinValueValidator(-2147483647), django.core.validators.MaxValueValidator(2147483647)]),
        ),
        migrations.AlterField(
            model_name='draftitem',
            name='size',
            field=models.BigIntegerField(blank=True, help_text='Bytes.', null=True),
        ),
    ]
