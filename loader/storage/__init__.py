"""Content directories: where items are stored, and how they survive kills, power cuts and failing disks.

Nothing outside the content directory is touched. A directory is locked with flock(2) for the life of the process, and
every name in it is opened relative to a directory descriptor with O_NOFOLLOW, so a planted symbolic link cannot
redirect a write (`directory`).

**Atomic installation.** A file that the loader put under a final name, `DIR/<campaign>/<content>.tgz`, is complete and
has the size, and the SHA-256 if there is one, that the manifest lists. Bytes are written to a partial file under
`DIR/.loader/parts/` and hashed as they arrive; only ranges from several connections are read back for that. The file is
then renamed, within the same file system (`partial_file`, `installation`). While another version of the campaign is in
use, the items of the new one are staged under `DIR/.loader/beside/`, and all are renamed when the last one has arrived.
Size, modification time and hash of each installed file are recorded under `DIR/.loader/held/`; a file that does not
match its record is not trusted (`item_index`).

**Order of syncs.** For one item: fsync of the partial file, write of the record, rename, fsync of the target directory.
Only then is the item reported as complete. The record is not synced: if it is lost, the file is hashed again, not
downloaded. Other state files are replaced through a temporary file and a rename; what is synced depends on what losing
the file would cost (`Directory.write`). After a failed fsync the kernel may have dropped the dirty pages and may report
success the next time, so the partial file is discarded (https://wiki.postgresql.org/wiki/Fsync_Errors).

**Resume.** The state file of a partial file has the ETag, size and hash of the object, the id of the boot in which it
was written, and how many bytes were synced. Within one boot, a killed process loses only what it had in memory, so the
length of the file counts. After a reboot only the synced bytes count: about 64 MiB per item are downloaded again at
most. Files with gaps, from several connections, also record which ranges were written; their length never counts.
Before a download resumes, the existing bytes are hashed, so the final hash covers what is on disk, and the request pins
the ETag (`partial_state`, `partial_state_file`).

**Direct I/O.** A thread writes full blocks of 2 MiB with O_DIRECT, which saves the copy into the page cache and leaves
the cache to other programs. The rest of a file, and bytes that arrive slowly, go through the page cache, so that a kill
loses two seconds of them at most. Both can be mixed in one file because they never share a page. File systems that
refuse O_DIRECT are written through the page cache (`buffered_writer`).

**Removal.** A purge first removes the record that the campaign is complete, then the files, then their records, so that
after a kill the rest can still be found and removed. Only files that the loader installed are removed (`campaigns`).
Identical content in several campaigns is stored once, as hard links.
"""
