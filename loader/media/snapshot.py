"""Result of one poll of the media bucket: a manifest, or an error, for each campaign. Types only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Final

from loader.contract.manifest import Manifest
from loader.errors import UNREACHABLE, Cause, Code
from loader.frozen import frozen
from loader.storage.inventory import ItemKey, ManifestVersion

NO_VERSION: Final = ManifestVersion("")
WARNINGS_LIMIT: Final = 20  # signature warnings in a heartbeat


@frozen
class ManifestResult:
    """A campaign's manifest and its version, or the code and the sentence why it cannot be used.

    With neither, the campaign is not, or no longer, for this aircraft. `warning`: `CODE: sentence` about the signature
    of a manifest that is used nevertheless. `absent`: the object does not exist.
    """

    campaign: str
    manifest: Manifest | None = None
    manifest_version: ManifestVersion = NO_VERSION
    code: Code | None = None
    text: str = ""
    warning: str = ""
    absent: bool = False

    @property
    def unreachable(self) -> bool:
        """The store could not be reached; the manifest may be valid."""
        return self.code in UNREACHABLE

    @property
    def refused(self) -> bool:
        """The signature policy refuses the manifest."""
        return self.code is not None and self.code.cause is Cause.POLICY


@frozen
class UnpublishedPrefix:
    """A prefix that is not a campaign (yet), for example because it is still being uploaded. `reason` is a clause."""

    campaign: str
    reason: str


@frozen
class MediaSnapshot:
    """State of the media bucket at one poll: a result for each campaign, by name.

    `code` and `text`: why the campaigns could not be listed. `ignored_prefixes`: a sentence for each of them.
    `etags`: of the objects that were listed. `problems`: sentences for the log. `unpublished`: prefixes that are not
    campaigns.
    """

    manifests: Mapping[str, ManifestResult]
    ignored_prefixes: tuple[str, ...] = ()
    code: Code | None = None
    text: str = ""
    etags: Mapping[ItemKey, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    unpublished: tuple[UnpublishedPrefix, ...] = ()

    @property
    def reached(self) -> bool:
        """The store answered at least one request."""
        if self.code:
            return self.code not in UNREACHABLE
        return not self.manifests or any(not result.unreachable for result in self.manifests.values())

    @property
    def reason(self) -> str:
        """Why the store did not answer."""
        return self.text or next((result.text for result in self.manifests.values() if result.unreachable), "")

    @property
    def refused(self) -> bool:
        """The signature policy refuses at least one campaign."""
        return any(result.refused for result in self.manifests.values())

    @property
    def signature_warnings(self) -> dict[str, str]:
        """Signature warnings for the heartbeat, by campaign; at most WARNINGS_LIMIT."""
        warnings = {name: result.warning for name, result in self.manifests.items() if result.warning}
        return dict(list(warnings.items())[:WARNINGS_LIMIT])

    def merged_with(self, before: MediaSnapshot) -> MediaSnapshot:
        """Return this snapshot with the earlier manifests where the bucket gave no answer.

        A manifest that cannot be read now counts as unchanged, so that nothing is cancelled because of the link.
        """
        manifests = {
            name: before.manifests[name] if result.unreachable and name in before.manifests else result
            for name, result in self.manifests.items()
        }
        if not self.reached or self.code:
            manifests = {**before.manifests, **manifests}
        return replace(self, manifests=manifests)

    def why_missing(self, campaign: str, content: str | None) -> str | None:
        """Return why a campaign (or one item of it) cannot be loaded from this snapshot; None if it can."""
        result = self.manifests.get(campaign)
        if result is None or result.manifest is None:
            return f"There is no campaign {campaign!r} to load on this aircraft"
        if content is not None and not any(item.name == content for item in result.manifest.content):
            return f"The campaign {campaign!r} has no content {content!r}"
        return None
