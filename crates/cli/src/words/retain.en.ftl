
# What is kept, and what is destroyed
retention-rules = What the vault file says (of folders, the deepest counts):
retention-next = to destroy this now, run: { $warifu } prune { $vault }. A mounted drive does it by itself, once a day.
version-destroyed = { $subject }: what it held then was destroyed, by a rule of the vault file or by a person.
clock-ahead = this machine's clock says { $now }, but the newest time that the vault knows of is { $known }. By a clock that is ahead, everything would be old.
clock-ahead-next = set the clock right. If it is right, because the vault was not used for long, add --trust-clock.
holds-changed = a hold was added or removed since the plan was made; what was destroyed before that is destroyed.
holds-changed-next = run the command again: it shows a new plan.
restore-left-destroyed = { $path }: what it held then was destroyed
certificate-genuine = Signed and unaltered: { $versions } versions of the vault { $vault_id }, destroyed at { $time } by { $person }@{ $host }.
certificate-incomplete = Not every server had confirmed by then; the certificate names those that had not.
certificate-whose = It was signed under the key { $key }. Whose that is, the certificate alone cannot say.
certificate-whose-next = have the vault's administrator print its key with "warifu certificate key VAULT", and give that as --key.
certificate-false = { $path } is no certificate, was altered, or was signed by another vault.
certificate-false-next = get the file once more from whoever gave it to you, and compare the key with that of the vault.
certificate-bad-key = a public key has 64 hexadecimal digits.
certificate-bad-key-next = copy it whole from what "warifu certificate key VAULT" prints.
certificate-no-key = the key that signs certificates could not be made.
certificate-no-key-next = run the command without --certificate, and report this as an error of warifu.
prune-no-rules = The vault file says nothing of what may go: everything is kept.
prune-no-rules-next = to let old versions go, write a [retention] table into the vault file, such as keep = "90 days".
prune-nothing = Nothing is to be destroyed.
prune-plan = To be destroyed for good: { $versions } versions ({ $size } of contents) and { $names } names of the past.
prune-version = { $path }: version { $version } of { $time } ({ $size })
prune-more = … and { $more } more; --json lists all.
prune-held = { $files } files are held, and kept whole.
prune-in-use = { $files } files are open, here or on another machine, and left alone.
prune-yes-next = to destroy this, run the command again with --yes. It cannot be brought back after that.
prune-done = Destroyed: { $versions } versions, { $names } names.
prune-server = { $server }: { $gone } objects are gone
prune-server-left = { $server }: { $gone } objects are gone, { $left } are NOT CONFIRMED ({ $detail })
prune-left-next = the servers named keep what they did not remove until they answer; they are asked again as long as the vault is in use. Keep their disks safe until then.
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
