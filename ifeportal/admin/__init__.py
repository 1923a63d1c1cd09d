"""Django admin of the portal: importing this package registers every model admin.

Django's autodiscovery imports it. `site.portal_site` returns the same site even while this package is being imported.
"""

from ifeportal.admin import accounts as accounts
from ifeportal.admin import airlines as airlines
from ifeportal.admin import audit as audit
from ifeportal.admin import jobs as jobs
from ifeportal.admin import live as live
from ifeportal.admin import operations as operations
