"""A model gets the name of what it holds; its table keeps its own, so that no process of an upgrade misses it."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("fleet", "0008_found_by_need")]

    operations = [
        # With the table's name pinned first, neither operation changes the database.
        migrations.AlterModelTable(name="moved", table="fleet_moved"),
        migrations.RenameModel(old_name="Moved", new_name="ThroughputInterval"),
    ]
