/* Files from a drop, an input or a picker, with their handles where the browser has them. Walks dropped folders. */

export const MOST_FILES = 5000; // of one drop
const HIDDEN = /^(\.|Thumbs\.db$|desktop\.ini$)/i;

/** What was picked: `files` are {file, handle}, `skipped` hidden files, `tooMany` whether some were left out. */
class Picked {
  constructor() {
    this.files = [];
    this.skipped = 0;
    this.tooMany = false;
  }

  add(file, handle = null) {
    if (this.files.length >= MOST_FILES) this.tooMany = true;
    else this.files.push({ file, handle });
    return !this.tooMany;
  }

  addFromFolder(file, handle = null) {
    if (!HIDDEN.test(file.name)) return this.add(file, handle);
    this.skipped += 1;
    return true;
  }
}

export function fromList(list) {
  const picked = new Picked();
  for (const file of list) if (!(file.webkitRelativePath ? picked.addFromFolder(file) : picked.add(file))) break;
  return picked;
}

/** Everything dropped. The items are read before the first await: a browser empties them after the event. */
export async function fromDrop(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const wanted = items.map((item) => ({
    handle: item.getAsFileSystemHandle?.() ?? null,
    entry: item.webkitGetAsEntry?.() ?? null,
    file: item.getAsFile(),
  }));
  const picked = new Picked();
  for (const { handle, entry, file } of wanted) {
    const known = await handle?.catch?.(() => null);
    if (known?.kind === "directory") await walkHandle(known, picked);
    else if (known) picked.add(await known.getFile(), known);
    else if (entry?.isDirectory) await walkEntry(entry, picked);
    else if (file) picked.add(file);
  }
  return picked;
}

export async function fromHandles(handles) {
  const picked = new Picked();
  for (const handle of handles) {
    if (handle.kind === "directory") await walkHandle(handle, picked);
    else picked.add(await handle.getFile(), handle);
  }
  return picked;
}

async function walkHandle(folder, picked) {
  for await (const handle of folder.values()) {
    if (picked.tooMany) return;
    if (handle.kind === "directory") await walkHandle(handle, picked);
    else picked.addFromFolder(await handle.getFile(), handle);
  }
}

async function walkEntry(folder, picked) {
  const reader = folder.createReader();
  for (;;) {
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length || picked.tooMany) return;
    for (const entry of batch) {
      if (entry.isDirectory) await walkEntry(entry, picked);
      else picked.addFromFolder(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    }
  }
}
