"""Labels and help texts only: no SQL is sent."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('fleet', '0009_throughput_interval'),
    ]

    operations = [
        migrations.AlterField(
            model_name='acknowledgement',
            name='state',
            field=models.CharField(help_text='The acknowledged state, or `at risk`.', max_length=13),
        ),
        migrations.AlterField(
            model_name='anomaly',
            name='problem',
            field=models.CharField(help_text='A code, such as BAD_NAME.', max_length=40),
        ),
        migrations.AlterField(
            model_name='event',
            name='bytes_done',
            field=models.BigIntegerField(help_text='Bytes of the load or item at that time.'),
        ),
        migrations.AlterField(
            model_name='load',
            name='archived_at',
            field=models.DateTimeField(blank=True, help_text='When its objects were archived; the figures are those of that time.', null=True),
        ),
        migrations.AlterField(
            model_name='load',
            name='as_of',
            field=models.DateTimeField(blank=True, help_text='LastModified of the newest object that these figures come from.', null=True),
        ),
        migrations.AlterField(
            model_name='load',
            name='at_risk',
            field=models.BooleanField(db_default=False, default=False, help_text='The load may not be complete when the exhibition starts.'),
        ),
        migrations.AlterField(
            model_name='load',
            name='campaign_error',
            field=models.TextField(blank=True, help_text='Text of campaign.json.error.'),
        ),
        migrations.AlterField(
            model_name='load',
            name='contradiction',
            field=models.CharField(blank=True, choices=[('', 'none'), ('oversized', 'reports more bytes than an item has'), ('error left', 'an error remains after its item succeeded'), ('manifest changed', 'the manifest changed while it was loading')], db_default='', default='', max_length=16),
        ),
        migrations.AlterField(
            model_name='load',
            name='effective_base',
            field=models.BigIntegerField(db_default=0, default=0, help_text='Bytes at the start of that measurement.'),
        ),
        migrations.AlterField(
            model_name='load',
            name='effective_bps',
            field=models.BigIntegerField(blank=True, help_text='Observed bytes per second over several days, pauses included.', null=True),
        ),
        migrations.AlterField(
            model_name='load',
            name='effective_since',
            field=models.DateTimeField(blank=True, help_text='Start of the measurement of the effective rate.', null=True),
        ),
        migrations.AlterField(
            model_name='load',
            name='error_etag',
            field=models.CharField(blank=True, help_text='ETag of campaign.json.error; empty if there is none.', max_length=200),
        ),
        migrations.AlterField(
            model_name='load',
            name='manifest_etag',
            field=models.CharField(blank=True, help_text='ETag of the manifest that the transfers were last compared with.', max_length=200),
        ),
        migrations.AlterField(
            model_name='load',
            name='restarted',
            field=models.BooleanField(db_default=False, default=False, help_text='The bytes of an item went down.'),
        ),
        migrations.AlterField(
            model_name='load',
            name='stalled',
            field=models.BooleanField(default=False, help_text="Loading, but no byte came for the airline's `stalled after` minutes."),
        ),
        migrations.AlterField(
            model_name='load',
            name='sweeping',
            field=models.BooleanField(db_default=False, default=False, help_text='Archived, but some of its small objects may not be deleted yet.'),
        ),
        migrations.AlterField(
            model_name='load',
            name='waiting',
            field=models.BooleanField(db_default=False, default=False, help_text='The loader reports that it waits or is paused, such as without a link or outside its hours.'),
        ),
        migrations.AlterField(
            model_name='tail',
            name='awake_since',
            field=models.DateTimeField(blank=True, help_text="Since when the tail has been seen without a long gap, by the portal's clock.", null=True),
        ),
        migrations.AlterField(
            model_name='tail',
            name='discovered',
            field=models.BooleanField(default=False, help_text='Created by the poller from a key, not by a user.'),
        ),
        migrations.AlterField(
            model_name='tail',
            name='heard_at',
            field=models.DateTimeField(blank=True, help_text='LastModified of the newest object it wrote.', null=True),
        ),
        migrations.AlterField(
            model_name='tail',
            name='keys',
            field=models.PositiveIntegerField(default=0, help_text='Approximate number of its objects in the status bucket.'),
        ),
        migrations.AlterField(
            model_name='tail',
            name='name',
            field=models.CharField(help_text='Registration, as in the bucket keys.', max_length=200),
        ),
        migrations.AlterField(
            model_name='tail',
            name='queue_error',
            field=models.CharField(blank=True, db_default='', help_text='Why the loader does not follow its queue, or part of it.', max_length=500),
        ),
        migrations.AlterField(
            model_name='tail',
            name='queue_version',
            field=models.BigIntegerField(blank=True, help_text='Version of the transfer queue that its loader follows.', null=True),
        ),
        migrations.AlterField(
            model_name='tail',
            name='rate_bps',
            field=models.BigIntegerField(blank=True, help_text='Bytes per second, as reported by the loader.', null=True),
        ),
        migrations.AlterField(
            model_name='tail',
            name='seen_at',
            field=models.DateTimeField(blank=True, help_text="When the portal last saw something new of the tail, by the portal's clock.", null=True),
        ),
        migrations.AlterField(
            model_name='tail',
            name='signatures',
            field=models.CharField(blank=True, db_default='', help_text="The loader's signature policy: off, warn or enforce.", max_length=20),
        ),
        migrations.AlterField(
            model_name='tail',
            name='silent',
            field=models.BooleanField(db_default=False, default=False, help_text="Nothing new was seen of the tail for the airline's `silent after` hours."),
        ),
        migrations.AlterField(
            model_name='throughputinterval',
            name='at',
            field=models.DateTimeField(help_text='Start of the five minutes.'),
        ),
        migrations.AlterField(
            model_name='transfer',
            name='as_of',
            field=models.DateTimeField(blank=True, help_text='LastModified of the newest object that these figures come from.', null=True),
        ),
        migrations.AlterField(
            model_name='transfer',
            name='bytes_reported',
            field=models.BigIntegerField(blank=True, help_text='The reported value, even above the total.', null=True),
        ),
        migrations.AlterField(
            model_name='transfer',
            name='content',
            field=models.CharField(help_text="The item's name, without .tgz.", max_length=200),
        ),
        migrations.AlterField(
            model_name='transfer',
            name='error_etag',
            field=models.CharField(blank=True, help_text='ETag of .error; empty if there is none.', max_length=200),
        ),
        migrations.AlterField(
            model_name='transfer',
            name='listed',
            field=models.BooleanField(default=False, help_text='The current manifest lists the item.'),
        ),
        migrations.AlterField(
            model_name='transfer',
            name='oversized',
            field=models.BooleanField(default=False, help_text="The reported value is above the item's size."),
        ),
        migrations.AlterField(
            model_name='transfer',
            name='progress_at',
            field=models.DateTimeField(blank=True, help_text='LastModified of .progress. Without an ETag, the object is gone.', null=True),
        ),
        migrations.AlterField(
            model_name='transfer',
            name='stalled',
            field=models.BooleanField(default=False, help_text="Loading, but no byte came for the airline's `stalled after` minutes."),
        ),
    ]
