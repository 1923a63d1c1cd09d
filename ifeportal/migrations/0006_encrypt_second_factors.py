"""Secrets of authenticator apps and recovery codes that stand in clear are encrypted; backwards, decrypted."""

from django.db import migrations, transaction

from ifeportal.accounts.encryption import PREFIX, convert, decrypt, encrypt


def _rewrite(apps, alias, change):
    rows = apps.get_model("mfa", "Authenticator").objects.using(alias).exclude(type="webauthn")
    with transaction.atomic(using=alias):
        for row in rows.select_for_update():  # a code used meanwhile stays used
            changed = convert(row.data, change)
            if changed != row.data:
                rows.filter(pk=row.pk).update(data=changed)


def _encrypt_clear(stored):
    return stored if stored.startswith(PREFIX) else encrypt(stored)


def encrypt_all(apps, schema_editor):
    _rewrite(apps, schema_editor.connection.alias, _encrypt_clear)


def decrypt_all(apps, schema_editor):
    _rewrite(apps, schema_editor.connection.alias, decrypt)


class Migration(migrations.Migration):
    dependencies = [
        ("ifeportal", "0005_tokens"),
        ("mfa", "0003_authenticator_type_uniq"),
    ]

    operations = [migrations.RunPython(encrypt_all, decrypt_all, elidable=True)]
