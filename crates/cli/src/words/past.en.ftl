
# Times
bad-time = "{ $text }" is no time that warifu can read.
bad-time-next = write it like 2026-11-27 14:00, 14:00, yesterday, "yesterday 14:00" or "2 hours ago".

# History
history-line = version { $version }  { $time }  { $size }  { $author }@{ $host }
history-current = (current)
history-empty = { $subject } has never been saved.
history-moved = was called { $name } until { $time }
history-removed = { $name } was removed at { $time }

# Restore
restored-version = { $subject } is as it was in version { $version } ({ $size }). What it was before is kept as a version.
restore-plan = As of { $time }: { $versions } files get an earlier version, { $files } files and { $folders } folders come back, { $back } get their old names back, { $removes } names are removed; { $same } are as they were.
restore-nothing = Nothing to be done: all { $same } are as they were at { $time }.
restore-aside = { $path }: what is in the way is called { $name } from then on
restore-folder = { $path }: the folder comes back
restore-back = { $path }: comes back from { $from }
restore-file = { $path }: comes back as version { $version } ({ $size })
restore-version = { $path }: version { $version } again ({ $size })
restore-special = { $path }: comes back
restore-remove = { $path }: was not there, and is removed (and kept in the history)
restore-more = … and { $more } more; --json lists all.
restore-newer = { $newer } names were not there then and stay; --exact removes them.
restore-done = Done: { $steps } steps. Nothing is lost by it: what was there before is in the history.
restore-failed = { $steps } steps could not be done; what they would have changed is as it was:
restore-changed = { $path }: somebody has changed it since the plan was made.
restore-failed-next = run the command again: it does what is left.
restore-yes-next = to do this, run the command again with --yes.

# The audit log
audit-no-act = there is no act "{ $act }" in the audit log.
audit-no-act-next = choose one of these: { $known }
audit-chain-holds = The chain holds: { $lines } lines, from the first to the last.
audit-gap = BROKEN: where line { $expected } should be, line { $found } is: the lines before it were taken away, or a rebuild could not find them.
audit-chain-broken = BROKEN at line { $seq }: it does not follow from the line before. Line { $seq } or the one before it was altered, or another was put in its place. What stands before is whole.
audit-unreadable = BROKEN at line { $seq }: it cannot be opened, so it was altered or damaged ({ $detail }).
audit-broken-next = keep the catalogue as it is for whoever investigates; the servers still have the log: make a catalogue from them beside it with a copy of the vault file and { $warifu } rebuild.
audit-servers-agree = The servers have the same lines, up to line { $last }.
audit-servers-nothing = The servers have no line of the log.
audit-lines-gone = CUT OFF: the catalogue says itself that it had lines { $first } to { $last }, and has them no more.
audit-missing = Lines { $first } to { $last } were put on the servers and are in no segment there: nobody can vouch for them.
audit-newer-segment = The servers have a segment of the journal (number { $segment }) that this catalogue has never written: it may be an older catalogue.
audit-cut-off = CUT OFF: the servers have lines that the catalogue does not have, from line { $seq } to { $last }. The catalogue is an older one, or its log was cut off.
audit-cut-off-next = find out who put this catalogue here. The newer state can be made anew from the servers: { $warifu } rebuild { $vault }
audit-servers-differ = REPLACED: line { $seq } on the servers says something else than the catalogue's.
audit-incomplete-next = bring back the servers that are away, and check again: only then every line has been compared. After a rebuild or a move of the catalogue, mount the drive once first; what is missing then was taken away from the servers.
audit-no-servers = too few servers can be looked through to compare the log.
audit-no-servers-next = bring them back and try again, or check the chain alone with --local.
audit-copy-agrees = { $path } says the same: { $lines } lines, from { $first } to { $last }.
audit-copy-empty = { $path } has no line of this log.
audit-copy-differs = DIFFERENT: line { $seq } of { $path } is not the catalogue's.
audit-copy-other = { $lines } lines of the copy are something else, and were passed over.

# The trash and the room
trash-line = { $path }  removed { $time }  { $size }
trash-empty = The trash is empty.
trash-not-found = nothing of { $subject } is in the trash.
trash-not-found-next = list what is there with: { $warifu } trash list { $vault }
trash-restored = { $files } files are back.
df-server = { $server }: { $size } in { $objects } objects
df-folders = By folder, on all servers together:
df-folder = { $folder }: current { $current }, older versions { $older }, removed files { $removed }
df-ages = Older versions and removed files, by age:
df-age = saved less than { $days } days ago: { $size }
df-age-rest = older: { $size }
df-journal = Journal of the catalogue: { $size }
df-other = Of no file that has or had a name: { $size }
df-compact = Shared by the scheme shamir: { $shamir }. By compact the same would take { $compact }, { $saved } less; then fewer than k servers say nothing only as long as the cipher is not broken, instead of whatever is computed.
