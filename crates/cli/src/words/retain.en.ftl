
# What is kept, and what is destroyed
prune-no-rules = The vault file says nothing of what may go: everything is kept.
prune-no-rules-next = to let old versions go, write a [retention] table into the vault file, such as keep = "90 days".
prune-nothing = Nothing is to be destroyed.
prune-plan = To be destroyed for good: { $versions } versions ({ $size } of contents) and { $names } names of the past.
prune-version = { $path }: version { $version } of { $time } ({ $size })
prune-more = … and { $more } more; --json lists all.
prune-held = { $files } files are held, and kept whole.
prune-in-use = { $files } files are open here, and left alone.
prune-yes-next = to destroy this, run the command again with --yes. It cannot be brought back after that.
prune-done = Destroyed: { $versions } versions, { $names } names.
prune-server = { $server }: { $gone } objects are gone
prune-server-left = { $server }: { $gone } objects are gone, { $left } are NOT CONFIRMED ({ $detail })
prune-left-next = the servers named keep what they did not remove until they answer; they are asked again as long as the vault is in use. Keep their disks safe until then.
destroyed-genuine = Genuine: { $versions } versions, destroyed at { $time } by { $person }@{ $host }.
destroyed-incomplete = Not every server had confirmed by then; the certificate names those that had not.
destroyed-false = { $path } is no certificate of this vault, or was altered.
destroyed-false-next = check it with the vault file of the vault that wrote it.
trash-line = { $path }  removed { $time }  { $size }
trash-empty = The trash is empty.
trash-not-found = nothing of { $subject } is in the trash.
trash-not-found-next = list what is there with: { $warifu } trash list { $vault }
trash-restored = { $files } files are back.
hold-set = { $subject } is held: no rule and no command destroys anything of it.
hold-cleared = { $subject } is not held any more.
hold-exists = { $subject } is held already.
hold-exists-next = list what is held with: { $warifu } hold list { $vault }
hold-missing = { $subject } is not held.
hold-missing-next = list what is held with: { $warifu } hold list { $vault }
hold-line = { $path }  since { $time }  by { $person }  { $reason }
hold-none = Nothing is held.

# Room
df-server = { $server }: { $size } in { $objects } objects
df-folders = By folder, on all servers together:
df-folder = { $folder }: current { $current }, older versions { $older }, removed files { $removed }
df-ages = Older versions and removed files, by age:
df-age = saved less than { $days } days ago: { $size }
df-age-rest = older: { $size }
df-journal = Journal of the catalogue: { $size }
df-other = Of no file that has or had a name: { $size }
df-compact = Shared by the scheme shamir: { $shamir }. By compact the same would take { $compact }, { $saved } less; then fewer than k servers say nothing only as long as the cipher is not broken, instead of whatever is computed.
