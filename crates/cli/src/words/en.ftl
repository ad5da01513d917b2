# The program's words in English. ja.ftl says the same in Japanese; a test compares the two.
# In every message, $warifu is how the program is called from here, and $vault how the vault file was named.

next = Next: { $next }

# Exit codes
help-exit-codes = Exit codes:
help-examples = Examples:
exit-ok = done
exit-failed = not done
exit-usage = the command line makes no sense
exit-care = done, but something needs care: damage, a server away, a file left out
exit-not-found = a file, folder, version or vault does not exist
exit-too-few = too few servers answer, or too few good shares are left
exit-exists = something is there already; nothing was overwritten
exit-no-room = no room left
exit-no-mount = no drive can be mounted here
exit-bad-input = a damaged or foreign vault file, share or server
exit-lost = some changes could not be saved; their names were reported
exit-repaired = damage was found, and all of it repaired
exit-interrupted = stopped by the user
usage = { $detail }
usage-next = see { $warifu } --help.
interrupted = stopped; nothing half-done is left.
interrupted-next = to go on, give the same command again.

# General
the-vault = the vault
the-path = the path
amount = { $files ->
    [one] 1 file, { $size }
   *[other] { $files } files, { $size }
}
failed = { $subject }: { $detail }
failed-next = check the servers with: { $warifu } status { $vault }
try-again-next = try again.
stream-failed = reading or writing failed: { $detail }

# Local files
local-not-found = { $path } does not exist.
local-not-found-next = check the path.
local-exists = { $path } exists already and was not overwritten.
local-exists-next = choose another name, or replace it with --force where the command has that.
local-denied = { $path }: permission denied.
local-denied-next = check the owner and the mode of the file and its folder.
local-full = { $path }: no room left on the device.
local-full-next = free some room there and try again.
local-failed = { $path }: { $detail }
local-failed-next = check the disk or the other end and try again.

# Names in the vault
not-found = { $subject } does not exist in the vault.
not-found-next = see what is there with: { $warifu } ls { $vault }
version-not-found = { $subject } has no such version.
version-not-found-next = list its versions with: { $warifu } history { $vault } FILE
no-such-folder = { $subject } is not a folder in the vault.
exists = { $subject } exists already in the vault.
exists-next = choose another name.
not-empty = { $subject } is not empty.
not-empty-next = remove it with all that is in it with: { $warifu } rm -r
not-a-folder = { $subject } is not a folder.
not-a-folder-next = name a folder, or the file without a / at its end.
is-a-folder = { $subject } is a folder.
is-a-folder-next = name a file.
rm-folder-next = remove a folder and all that is in it with -r.
into-itself = { $subject }: a folder cannot be moved into itself.
into-itself-next = choose a target outside the folder.
name-too-long = { $subject }: a name of { $got } bytes is too long; the limit is { $limit } bytes.
name-too-long-next = choose a shorter name.
name-impossible = { $subject }: no file can be called that.
name-impossible-next = leave out empty names, "..", and the NUL character.
too-large = { $subject }: { $size } is more than a file can hold ({ $limit }).
too-large-next = split the file into parts.
put-no-folder-next = make it first with: { $warifu } mkdir -p { $vault } FOLDER   (or put with --parents)
mkdir-parents-next = make the folders above it too with -p.
get-no-folder = { $path } is not a folder.
get-no-folder-next = make the folder first, or name one file as the target for one source.
put-stdin-name = standard input needs a file name as its target.
put-stdin-name-next = give "-" alone, and a path that is not a folder.
read-only = the vault was opened for reading only.
read-only-next = mount it without --read-only to change files.

# Shares and servers
too-few-shares = { $subject }, version { $version }, cannot be read now: { $needed } good shares are needed and { $got } could be had.
too-few-shares-next = bring the servers named above back, then check with: { $warifu } verify { $vault }
not-stored = { $subject } could not be saved: { $needed } servers must take a share and { $got } did. The old version is untouched.
not-stored-next = bring the servers back and save again; see { $warifu } status { $vault }
no-room-next = free room on the servers that are full, or give them larger disks, and save again.
lapsed = { $subject }: the save took too long and was given up. The old version is untouched.
overtaken = somebody else makes the shares of the whole vault anew at the same time, or has changed the vault file meanwhile; no file is harmed
overtaken-next = wait a moment, and look at how far it is: { $warifu } status { $vault }. Repeat the command if it is still wanted then.
no-randomness = the operating system has no random numbers to give; nothing can be shared without them.
no-randomness-next = check that the getrandom system call is allowed here, and try again.
damaged = { $subject } is damaged: { $detail }
damaged-next = see which shares are bad with: { $warifu } verify { $vault } --deep
shutting-down = the vault is being closed.
server-away = note: { $fault }
fault-missing = share missing
fault-corrupt = damaged
fault-stale = outdated
fault-foreign = not this vault's
fault-newer = made by a newer warifu
fault-no-answer = no answer
fault-full = no room left
fault-denied = access denied
fault-failed = error
lost = { $files ->
    [one] the last changes of 1 file could not be saved and are lost:
   *[other] the last changes of { $files } files could not be saved and are lost:
}
lost-next = their older versions are untouched. Bring the servers back before you work on; see { $warifu } status VAULT

# Opening and making a vault
vault-file-not-found = there is no vault file { $path }.
vault-file-not-found-next = check the path, or make a vault with: { $warifu } init { $vault } --threshold 2 SERVER SERVER SERVER
vault-file-exists = { $path } exists already and was not overwritten.
vault-file-exists-next = choose another name for the new vault.
vault-file-changed = { $path } was changed by somebody else meanwhile.
vault-file-changed-next = see what it says now ({ $warifu } threshold { $vault }), and begin again.
vault-file-newer = { $path } has format { $found } and was written by a newer warifu.
newer-next = use a newer version of warifu.
vault-file-invalid = { $path }, line { $line }: { $problem }
vault-file-invalid-next = correct line { $line } of { $path }, or take the file from a backup.
problem-value = { $field } is "{ $found }", but must be { $allowed }.
problem-twice = two servers have the same { $field }, "{ $found }".
problem-count = threshold.n is { $needed }, but { $got } servers are listed.
problem-secret = { $field } holds a password.
problem-secret-next = take the password out of the vault file; secrets must not stand in it.
bad-threshold = a threshold of { $k } of { $n } is impossible.
bad-threshold-next = name at least one server and at most 255, and a threshold from 1 to their number.
too-many-servers = { $n } servers are too many.
same-name = two servers are called "{ $server }".
same-name-next = give each server a name of its own with NAME=URL.
url-not-built-in = { $server }: { $scheme } servers are not built into this version.
url-bad = { $server }: { $detail }
url-next = name a folder (a path, dir:PATH or file:///PATH; those of mounted file servers work too) or a server: sftp://USER@HOST/PATH, webdavs://HOST/PATH, s3://BUCKET?endpoint=https://HOST
store-not-empty = { $server }: the folder { $path } is not empty: { $found }
store-not-empty-next = name an empty or a new folder for each server.
store-in-use = { $server }: { $path } belongs to a vault already.
store-inside = { $server }: { $path } lies within the server { $store }.
store-inside-next = give each server a folder of its own, best on another machine.
store-no-parent = { $server }: { $path } cannot be made, because there is no folder { $parent }.
store-no-parent-next = check that the file server is mounted, or make the folder.
store-failed = { $server }: { $detail }
store-failed-next = check that the folder is there and writable for you.
founding-failed = the vault could not be made: { $detail }
founding-failed-next = check the servers and try again.
too-few-servers = the vault cannot be opened: { $needed } servers are needed and { $got } answered as they should.
too-few-servers-next = bring one of the servers named above back (is it mounted?), and try again.
wrong-vault = the servers do not hold the key of this vault.
wrong-vault-next = check that the vault file and the servers' places in it belong together.
mixed-vaults = the servers are of different vaults.
mixed-vaults-next = leave out those of the other vault. One that lies says which vault it likes: where you do not know them, give all servers that you have.
catalog-missing = the catalogue { $path } is missing.
catalog-missing-next = make it anew from the servers with: { $warifu } rebuild { $vault }
catalog-exists = there is a catalogue { $path } already.
catalog-exists-next = choose another name for the vault file; the catalogue is named after it.
catalog-no-answer = the catalogue does not answer: { $detail }
catalog-no-answer-next = another process may be busy with it, or the database that the vault file names is not running or not reached; wait a little and try again.
catalog-url = the database cannot be used as it is written: { $detail }
catalog-url-next = write postgres://USER@HOST/DATABASE, without a password; a password is named by --catalog-option password=file:PATH
catalog-option = the option of the catalogue's database cannot be used: { $detail }
catalog-option-next = write password=file:PATH, password=env:NAME or ca=PATH; the file must be readable by you alone and hold the password.
catalog-password = the password of the catalogue's database is not at hand: { $detail }
catalog-failed = the catalogue { $path } refused: { $detail }
catalog-failed-next = where it was moved, get the vault file as it is now; where a database refuses, its user, password and rights are named in the vault file; then try again.
catalog-full = there is no room left for the catalogue.
catalog-newer = the catalogue has schema { $found }; this warifu knows up to { $known }.
catalog-mounted = { $count ->
    [one] the catalogue is of an older warifu and has to be brought up to date first, but a drive of that is still mounted: { $drives }
   *[other] the catalogue is of an older warifu and has to be brought up to date first, but { $count } drives of that are still mounted: { $drives }
}
catalog-mounted-next = unmount, do this again, and mount with this warifu. Until then the older one goes on working. A drive whose machine has died counts for half a minute.
catalog-damaged = the catalogue { $path } cannot be used: { $detail }
catalog-damaged-next = put it back from a backup. The contents are still on the servers.
init-done = { $path }: a new vault; any { $k } of its { $n } servers give every file back.
init-next = Keep a copy of the vault file and of the catalogue beside it.
    Put files in with:  { $warifu } put { $vault } FILE /
    Or mount a drive:   { $warifu } mount { $vault } FOLDER
init-threshold-one = note: with a threshold of 1 each server alone can read everything.
init-compact = note: files are shared by the scheme compact. Each server keeps only 1/{ $k } of a file's size, and in return fewer than { $k } servers tell nothing only as long as the cipher (AES-256) is not broken; with the scheme shamir this needs no cipher.
init-threshold-all = note: with this threshold no server may be lost: if one goes, no file can be read.

# Copying
copied = copied { $amount }.
copied-skipped = { $files ->
    [one] 1 was left out, as told above.
   *[other] { $files } were left out, as told above.
}
skipped = left out: { $path }: { $why }
skip-special = a pipe, socket or device
put-degraded = note: not every server has its share yet, because one is away or full. The files can be read; see { $warifu } status { $vault }

# Status and verify
status-threshold = { $k } of { $n } servers are needed to read.
status-compact = New files are shared by the scheme compact: 1/{ $k } of their size on each server, secret as long as the cipher is not broken.
state-normal = normal
status-free = { $size } free
status-usage = { $files } files, { $folders } folders, { $size }, { $versions } versions.
open-files-drives = { $drives ->
    [0] No drive is mounted.
    [one] One drive is mounted:
   *[other] { $drives } drives are mounted:
}
open-files-drive = { $place } on { $host }, by { $actor } since { $time }
open-files-open = { $files ->
    [0] Nobody has a file open for writing. A lock file that an office program left behind may be removed.
    [one] One file is open for writing:
   *[other] { $files } files are open for writing:
}
open-files-by = { $actor } on { $host } with { $program } since { $time }
open-files-locked = locked on { $host } by process { $pid }
status-owed = { $shares } shares of { $extents } extents are still owed to servers.
status-spare = { $spare ->
    [one] One more server may go, and everything can still be read.
   *[other] { $spare } more servers may go, and everything can still be read.
}
status-no-spare = No further server may go: everything can be read, but with none to spare.
status-unreadable = { $missing ->
    [one] Nothing can be read until 1 more server answers.
   *[other] Nothing can be read until { $missing } more servers answer.
}
status-away-next = bring the servers that do not answer back (are they mounted?).
state-degraded = degraded
state-read-only = read-only
state-stopped = stopped
state-because = { $state } ({ $reason })
state-slow = answers late
state-behind = { $shares ->
    [one] 1 share is still to come
   *[other] { $shares } shares are still to come
}
status-latency = { $ms } ms
status-last-success = last answered { $time }
status-weak = { $files ->
    [one] 1 file does not have all its shares yet:
   *[other] { $files } files do not have all their shares yet:
}
status-weak-spare = { $spare ->
    [one] may lose 1 more server
   *[other] may lose { $spare } more servers
}
status-weak-at-risk = may lose no further server
status-weak-unreadable = out of reach now
status-weak-journal = The journal of the catalogue does not have all its shares yet: { $spare }
status-at-risk = { $files ->
    [one] But 1 file would be out of reach then.
   *[other] But { $files } files would be out of reach if the next one were a certain server.
}
status-weak-lost = { $files ->
    [one] But 1 file is out of reach now: it was saved while another server was away.
   *[other] But { $files } files are out of reach now: they were saved while another server was away.
}
status-emptied-next = its piece of the vault key is missing. If it was emptied or replaced, bring the old one back or restore it from a backup; do not use a server that something else has written to.
status-denied-next = check the account and the permissions on the server.
status-refusing-next = it can be read and not written to: check the permissions, and whether it is mounted read-only.
status-slow-next = check its load and its network. Reading goes on with the others.
status-journal-behind = Moves, removals and new folders since { $time } are in the catalogue alone: if it were lost now, they would be lost with it. What is in files would not.
status-journal-behind-next = see that enough servers take what is stored, and mount the drive or leave it mounted: the changes are then written to the servers by themselves.
status-owed-next = store the missing shares, once the servers are back, with: { $warifu } verify { $vault } --repair
verify-no-name = (a removed file)
verify-owed = (known, owed)
verify-more = … and { $more } more; --json lists all.
verify-lost = LOST: { $file }, version { $version }: { $needed } good shares are needed and { $good } are left.
verify-unreadable = out of reach: { $file }, version { $version }: { $needed } good shares are needed and { $good } can be had now.
verify-lost-journal = LOST: segment { $segment } of the journal of the catalogue: { $needed } good shares are needed and { $good } are left.
verify-unreadable-journal = out of reach: segment { $segment } of the journal of the catalogue: { $needed } good shares are needed and { $good } can be had now.
verify-server = { $server }: { $good } good
verify-orphans = { $count } not needed by any version
verify-foreign = { $count } files that are not warifu's
verify-clean = All { $extents } extents are where they belong.
verify-clean-next = to read every byte too, add --deep.
verify-clean-deep = All { $extents } extents are whole on every server.
verify-silent = { $server }: no answer, so { $shares } shares could not be checked ({ $detail })
verify-silent-next = bring the servers that do not answer back (are they mounted?), and check again.
verify-damage = { $findings ->
    [one] 1 share is not as it should be. Every file can still be read.
   *[other] { $findings } shares are not as they should be. Every file can still be read.
}
verify-newer-next = a newer warifu wrote to this vault. Update warifu on this machine, and try again.
verify-damage-next = make the missing and bad shares anew from the good ones with: { $warifu } verify { $vault } --repair
verify-too-few = { $files ->
    [one] 1 version cannot be read.
   *[other] { $files } versions cannot be read.
}
verify-too-few-journal = { $segments ->
    [one] 1 segment of the journal of the catalogue cannot be read.
   *[other] { $segments } segments of the journal of the catalogue cannot be read.
}
verify-too-few-journal-next = bring back the servers named above, and keep the catalogue safe until then: what is in these segments only it knows now. Your files can be read.
verify-too-few-next = bring back the servers named above before anything else; do not delete anything.
verify-journal = (the journal of the catalogue)
verify-resumed = note: going on where the last check was interrupted; { $extents } extents were checked by then.

# Repair
repair-plan = To be made anew: { $shares } shares, { $size }.
repair-plan-server = { "  " }{ $server }: { $shares } shares, { $size }
repair-plan-risk = { "  " }First the { $extents } extents of which only { $standing } of { $n } shares are good.
repair-plan-key = { "  " }{ $server }: its piece of the vault key ({ $fault })
repair-waiting = { "  " }{ $server }: no answer, so { $shares } shares wait for it
repair-orphans = { "  " }{ $server }: { $count } objects that nobody needs, { $size }, to be removed
repair-nothing = There is nothing to repair now.
repair-apply-next = carry this out with: { $warifu } verify { $vault } --repair --yes
repair-done = { $shares } shares were made anew ({ $size }); { $found } were there already.
repair-key-done = { "  " }{ $server }: has its piece of the vault key back
repair-liar = { "  " }{ $server }: { $shares } shares that were thought to be good: { $fault }
repair-swept = { "  " }{ $server }: { $count } objects that nobody needed were removed
repair-left = { $shares } shares are still missing.
repair-left-next = when the servers named above answer and have room, repeat: { $warifu } verify { $vault } --repair --yes
repair-whole = Every share is where it belongs.
orphans-young = { "  " }{ $server }: { $count } objects that nobody needs are younger than the grace time and stay
orphans-undated = { "  " }{ $server }: { $count } objects that nobody needs stay, because the server does not say how old they are
orphans-newer = { "  " }{ $server }: { $count } objects may be work that the catalogue does not know, and stay. Was the catalogue brought back from a backup?
orphans-newer-next = move the catalogue away and get what they hold into a new one with { $warifu } rebuild { $vault }; or, if nobody needs it, remove it with { $warifu } verify { $vault } --repair --drop-newer --yes
orphans-unsure = { "  " }{ $server }: { $count } objects stay until all servers can be searched.
orphans-error = { "  " }{ $server }: could not be searched for objects that nobody needs ({ $detail })

# Servers
no-server = the vault has no server { $server }. It has: { $known }.
no-server-next = see them with: { $warifu } server list { $vault }
place-taken = the place for { $server } already belongs to a vault.
place-taken-next = name an empty folder or place; nothing was changed.
catalog-busy = { $saves ->
    [one] a save is under way, or was cut off a moment ago.
   *[other] { $saves } saves are under way, or were cut off a moment ago.
}
catalog-busy-next = unmount all drives of this vault, wait a few minutes for saves that were cut off, and try again.
catalog-differs = the copy of the catalogue is not what the catalogue holds ({ $detail }); nothing was moved.
catalog-differs-next = run { $warifu } verify { $vault } and report this.
catalog-move-plan = The catalogue goes from { $from } to { $to }: { $files } files, { $folders } folders, { $versions } versions, and the audit log. Unmount all drives first: as soon as the move begins, the old catalogue refuses changes.
catalog-move-same = The catalogue is at { $from } already: a move that was cut off is taken back, and the catalogue takes changes again.
catalog-move-begun = note: a move was begun before and cut off; this goes on with it.
catalog-move-saves = note: { $saves } saves have begun and not ended.
catalog-move-next = carry this out by repeating the command with --yes.
catalog-move-done = Moved to { $to }: { $rows } rows and { $lines } lines of the audit log, compared and the same. The vault file names the new place; give every machine the new vault file.
catalog-move-old = note: the old catalogue { $from } is kept and refuses changes. Remove it when all machines use the new one.
catalog-move-undone = The catalogue takes changes again.
replace-plan = { $server } keeps share { $index } and gets a new place: { $old } → { $new }
replace-old-answers = note: the old place still answers. Drives that use this very vault file go on at the new place within seconds; unmount those that use a copy of it.
replace-beside = note: the new place is on the same disk or machine as { $servers }. They would be lost together.
replace-begun = note: the new place has this server's piece of the key already; what was begun goes on.
retire-plan = Then all shares get a new generation: with what the old place holds, and what fewer than { $k } servers hold later, nothing can be read.
retire-next = carry this out with the same command and --yes
retire-done = What { $server } held so far is worthless: none of it adds up with the shares of today. Its old place can be wiped or given back.
server-same-place = on the same disk or machine as { $servers }: they would be lost together
server-same-credential = with the same password or key as { $servers }: whoever has it has them all
replace-next = carry this out by repeating the command with --yes.
replace-done = { $server } is complete at its new place.
replace-unsettled = { $server } is at its new place, but shares are still being put at the old one: a drive with a copy of the vault file uses it. Unmount that drive, run { $warifu } verify { $vault } --repair, and only then destroy the old disk.
replace-old-disk = note: the old disk and the new place hold the same share. Make the old one worthless with { $warifu } refresh { $vault } --yes, or destroy it, or keep it as safe as the new one. If a drive used a copy of the vault file, unmount it and run verify first: what it saved is at the old place only.

# The drive
mounted = The drive is mounted at { $dir }. Take it away with: { $command }
mounted-foreground = The drive is mounted at { $dir }. Ctrl-C saves and unmounts.
unmounted = { $dir }: everything is saved, and the drive is gone.
background-failed = the drive's process could not be started: { $detail }
background-failed-next = try { $warifu } mount with --foreground to see more.
umount-no-report = the drive at { $dir } ended without a report: { $detail }
umount-no-report-next = mount it again and look whether your last changes are there.
mount-no-device = this machine cannot mount drives: there is no /dev/fuse.
mount-no-device-next = install the package fuse3 (apt install fuse3), or load the kernel module fuse. put, get and the other commands work without it.
mount-denied = this user may not use /dev/fuse.
mount-denied-next = ask root to allow it (mode 0666 on /dev/fuse). put, get and the other commands work without it.
umount-forced = note: programs still used the drive and were cut off; what they had written until then was saved first.
mount-no-helper = an ordinary user needs the program fusermount3 to mount a drive, and it is not there.
mount-no-helper-next = install the package fuse3 (apt install fuse3). put, get and the other commands work without it.
mount-not-found = { $dir } does not exist.
mount-not-found-next = make an empty folder for the drive with: mkdir { $dir }
mount-not-a-folder = { $dir } is not a folder.
mount-not-a-folder-next = name an empty folder.
mount-not-empty = { $dir } is not empty.
mount-not-empty-next = name an empty folder; what is in it would be hidden behind the drive.
mount-taken = there is a drive at { $dir } already.
mount-taken-next = take it away first with: { $warifu } umount { $dir }
mount-inside = { $dir } lies within a server of the vault, or the other way round.
mount-inside-next = mount the drive somewhere else.
mount-allow-other = --allow-other is not allowed on this machine.
mount-allow-other-next = root can allow it with the line user_allow_other in /etc/fuse.conf, or mount without --allow-other.
mount-failed = { $dir } cannot be mounted: { $detail }
mount-failed-next = put, get and the other commands work without a drive.
umount-busy = the drive at { $dir } is in use.
umount-busy-next = close the files and leave the folders on it, and try again.
umount-not-mounted = there is no drive at { $dir }.
umount-not-mounted-next = see what is mounted with: findmnt -t fuse.warifu
umount-failed = { $dir } cannot be unmounted: { $detail }

# What is in RAM
ram-swap = swap that is not encrypted is on: { $areas }. What is open could get onto that disk, from this program or from those that show it.
ram-swap-unknown = it cannot be told whether swap is on: { $detail }. What is open could get onto a disk.
ram-swap-next = turn it off (swapoff -a, and take its line out of /etc/fstab), or let cryptsetup encrypt it (in /etc/crypttab: swap { $area } /dev/urandom swap,cipher=aes-xts-plain64,size=512; in /etc/fstab: /dev/mapper/swap none swap sw 0 0). Where that cannot be, mount with --allow-swap, which the audit log will tell.
ram-not-locked = memory cannot be locked: this user may lock { $limit } only.
ram-not-locked-refused = memory cannot be locked: the system refuses (error { $errno }).
ram-not-locked-next = allow it with: ulimit -l unlimited. For good, write "USER - memlock unlimited" into /etc/security/limits.d/warifu.conf, or LimitMEMLOCK=infinity into the systemd unit.
ram-tour = note: { $what } For these sample documents the tour goes on; a drive with your own is not mounted so. { $next }

# Programs shut in
run-no-namespaces = the kernel does not let this user shut programs in: { $detail }
run-no-namespaces-next = allow user namespaces (as root: sysctl -w user.max_user_namespaces=10000; on Ubuntu also kernel.apparmor_restrict_unprivileged_userns=0), or run it as root. Without that, mount the drive, and know that programs keep files of their own.
run-no-landlock = the kernel has no Landlock, so the program could write to disks.
run-no-landlock-next = use Linux 5.13 or later with landlock in its lsm= list (see: cat /sys/kernel/security/lsm). Without that, mount the drive, and know that programs keep files of their own.
run-failed = the program cannot be shut in: { $detail }
run-failed-next = mount the drive instead, and know that programs keep files of their own.
run-not-found = there is no program { $program }.
run-not-found-next = install it, or name it with its path.
run-not-started = { $program } cannot be started: { $detail }
run-not-started-next = name a program that this user may execute.
run-still = note: waiting for what the program has started. Ctrl-C ends it now; what was saved stays saved.

# Loose shares
split-not-a-file = { $path } is not a regular file.
split-not-a-file-next = split files one by one, or pack a folder into one file first (tar, zip).
split-changed = { $path } changed while it was read; no share was kept.
split-done = Any { $k } of these { $n } files give the file back; fewer say nothing about it. Keep them in different places.
combine-done = { $path } is back.
combine-no-share = not a share: { $detail }
combine-foreign = damaged at its beginning, or of other shares
combine-share-damaged = damaged
combine-damaged-next = The result is right: every part of it was checked. Make new shares, because these have less to spare.
combine-too-few = { $needed } good shares that belong together are needed, and { $got } are there.
combine-too-few-next = add more of the share files.
combine-no-fit = these shares do not belong together.
combine-scheme = { $path } is no share of a file that was split with this program: its share is of scheme { $scheme }, as servers of a vault keep them, and not of scheme 1.
combine-scheme-next = give only files that split has made. What lies on a vault's servers is read with: { $warifu } get VAULT PATH .
combine-bad = the shares cannot be joined: { $detail }
combine-bad-next = give only the shares of one file, all made by the same split.
combine-no-name = the file's own name cannot be used here.
combine-no-name-next = say where to write it with -o FILE.

# The tour
tour-made = A vault on three servers is ready in { $dir }. Any two of the three give every file back; one alone says nothing.
tour-exists = The vault in { $dir } is there already.
tour-mounted = Its drive is mounted at { $dir }.
tour-mounted-already = Its drive is already mounted at { $dir }.
tour-no-drive = There is no drive, so the steps below use put, get and cat.
tour-taken = { $dir } is not empty and no tour.
tour-taken-next = name a new folder: { $warifu } quickstart FOLDER
tour-open = 1. Read a document.
tour-look = 2. Look at what the servers hold. The word stands in the documents; no server has it.
tour-away = 3. Take one server away, and read on.
tour-back = 4. Put it back, and check every share.
tour-end = 5. Take the drive away.
tour-remove = To remove everything:

# Servers on the network
server-option-form = an option of a server is written NAME.FIELD=VALUE.
server-option-unknown = there is no server called "{ $server }" among those named.
server-option-bad = { $server }: { $detail }.
server-option-next = write for example -o honcho.key=file:honcho.key, where honcho is a server named as honcho=sftp://USER@HOST/PATH; see { $warifu } init --help
host-key-unknown = { $server }: the host key of the server is not known: { $algorithm } { $fingerprint }
host-key-unknown-next = compare the fingerprint with the one that the server's owner reads out. If they are the same, trust it with -o { $server }.host_key={ $fingerprint }, or add the line above to { $file }.
host-key-changed = { $server }: the server shows another host key than the one that is known: { $fingerprint } instead of { $expected }. Somebody may stand in between.
host-key-changed-next = do not go on before the server's owner confirms the new key; then put it in the place of the old one.
host-key-revoked = { $server }: the host key was declared invalid: { $fingerprint } ({ $place })
certificate-untrusted = { $server }: the certificate of the server is not trusted: { $detail }
certificate-untrusted-next = if the server's owner has an authority of its own, name its certificate with -o { $server }.ca=FILE.pem
login-refused = { $server }: the server does not let { $user } in ({ $detail }).
login-refused-next = check the user's name, and that the server knows the key (its .pub file belongs into ~/.ssh/authorized_keys there) or the password.
server-unreachable = { $server }: no answer: { $detail }
server-unreachable-next = check the name and the port in the URL, and that the server is on and can be reached from here.
credential-exposed-next = close it to others with: chmod 600 { $path }
server-unfit = { $server }: this place cannot keep shares: { $why }
server-unfit-next = use another folder or server; a file server that keeps what it was given cannot be replaced by one that does not.
server-test-fit = { $server } ({ $url }): fit to be a server.
server-test-unfit = { $server } ({ $url }): not fit to be a server.
server-test-same = Care: this is the same place as { $servers }. One vault must not use a place twice.
server-test-in-use = It is a server of a vault already.
server-test-speed = A question takes { $trip }; 64 KiB are written onto its disk in { $put } and read in { $get }.
server-test-free = Free room: { $free }.
server-test-no-space = It does not say how much room it has: when it is full, saves are owed to it.
server-test-not-atomic = Care: a reader may see half an object while it is written. It is checked on reading; repair makes it whole.
server-test-not-durable = It does not say when data is on its disk: a power cut there may take the last minutes of this one server.
server-test-no-times = It does not say when an object was written: what unfinished saves left there is never swept.
server-test-clock = Care: its clock differs from this machine's by { $seconds } seconds. Set both by a time server.
unfit-replaces = a second write under one name replaces the first.
unfit-loses = what was written does not come back as it was written.
unfit-lists-too-little = what was just written is not in the listing.
unfit-wrong-parts = a part of an object does not come back as asked for.
unfit-keeps = what was removed is still there.
unfit-never-absent = it does not say when something is not there.

# Rebuilding the catalogue
rebuild-done = Rebuilt { $catalog }: { $files } files, { $folders } folders, { $versions } versions.
rebuild-vault-file = A new vault file is { $path }; new files are shared by the scheme { $scheme }, which can be changed there.
rebuild-up-to = Everything is in up to { $time }.
rebuild-no-journal = No journal was found: names are as of each file's last save; moves, removals, empty folders and links since then are not in.
rebuild-gaps = { $count ->
    [one] one segment of the journal is missing: a change of names in it may be undone or lost.
   *[other] { $count } segments of the journal are missing: changes of names in them may be undone or lost.
}
rebuild-unfinished = the journal's last segment is on too few of these servers: changes of the last moment may be missing. With more servers it could be read.
rebuild-audit-missing = { $count ->
    [one] one line of the audit log is missing.
   *[other] { $count } lines of the audit log are missing.
}
rebuild-adopted = saved last and put in place: { $file }, version { $version } ({ $time })
rebuild-adopted-file = saved last and put in place as a new file: { $file } ({ $time })
rebuild-adopted-copy = saved last and kept as a copy: { $file } ({ $time })
rebuild-moved = lost its folder and is now: { $file }
rebuild-missing = { $server } is missing; its place is kept in the vault file for another server.
rebuild-owed = { $count ->
    [one] one share is missing on a server; see
   *[other] { $count } shares are missing on servers; see
} { $warifu } status { $vault }
rebuild-other = An older catalogue was brought back and worked on. What was written last counts; the journal's segments { $first } to { $last } (up to { $time }) told another story, of which { $saves ->
    [one] one save was put in place; its moves and removals were not.
   *[other] { $saves } saves were put in place; its moves and removals were not.
 }
rebuild-unread = { $count ->
    [one] one save of the last moment has too few shares on these servers: it came to nothing, or other servers have the rest.
   *[other] { $count } saves of the last moment have too few shares on these servers: they came to nothing, or other servers have the rest.
 }
rebuild-unreadable = { $count ->
    [one] one object could not be read: { $fault }
   *[other] { $count } objects on { $server } could not be read; the first one: { $fault }
 }
rebuild-accepted = Accepted. The vault can be changed again; a drive that is mounted must be mounted anew for that.
rebuild-nothing-to-accept = There was nothing to decide: the vault can be changed.
undecided = The catalogue was rebuilt with something missing that another rebuild could find. Until somebody decides, the vault can be read and not changed.
undecided-next = bring the missing servers back, move { $catalog } away and run { $warifu } rebuild { $vault } again; or go on without what is missing: { $warifu } rebuild { $vault } --accept
the-catalogue = the catalogue
rebuild-next = now check every share with: { $warifu } verify { $vault }
rebuild-server-lost = a server stopped answering in the middle; nothing was made.
rebuild-server-lost-next = try again when it is back, or without it where enough others are left.

refresh-plan = A new generation of all shares: { $extents } extents, { $size } to be sent to { $n } servers. Files stay in use meanwhile.
refresh-resumes = A refresh was begun at { $time } and has not ended. It goes on.
refresh-promise = When it has ended, old and new shares do not combine: whoever has stolen those of fewer than { $k } servers has nothing.
refresh-no-use = With a threshold of 1 each server has everything by itself: a refresh makes nothing worthless.
refresh-joined = { $extents } of these extents have the scheme compact: they are joined in memory and shared anew.
refresh-absent = Servers that do not answer keep their old shares until they are back, and are owed new ones.
refresh-too-few = Too few servers answer: a new generation must come to more servers than are needed to read.
refresh-apply-next = carry this out with: { $warifu } refresh { $vault } --yes
refresh-done = { $extents } extents have new shares ({ $size } sent).
refresh-complete = No server has a share of an older generation any more.
refresh-unreadable = Of { $extents } extents too few good shares could be had; they stay as they are. See { $warifu } verify { $vault }
refresh-left-next = when all servers answer, repeat: { $warifu } refresh { $vault } --yes
refresh-not-due = No refresh is due: there is one every { $days } days.
refresh-no-schedule = the vault file has no schedule for refreshes
refresh-no-schedule-next = write a line such as refresh = "every 7 days" into the vault file, above [threshold]
generation-first = Shares: generation { $number }, never refreshed.
generation-unknown = Shares: generation { $number }; when the last refresh was is not known any more.
generation-since = Shares: generation { $number }, since { $time }.
generation-under-way = Shares: a refresh to generation { $number }, begun at { $time }, has not ended; { $left } extents are left.
generation-as-before = { $left } extents were saved by an older threshold or in an older generation, with an old copy of the vault file.
left-as-before-next = give each machine the vault file as it is now and mount its drive anew, then: { $warifu } { $command } { $vault } --yes
left-unreadable-next = restore or destroy the versions of which too few good shares are left ({ $warifu } verify { $vault } names them), then repeat: { $warifu } { $command } { $vault } --yes
left-leased-next = somebody is saving, or what a killed run left waits for its lease to end. Repeat in ten minutes: { $warifu } { $command } { $vault } --yes
generation-holds = { "  " }{ $server }: has { $objects } objects of older generations
generation-may-hold = { "  " }{ $server }: may have { $objects } objects of older generations
generation-no-window = Nothing limits the time in which an intruder may collect what { $k } servers hold: a line refresh = "every 7 days" in the vault file does.
generation-window-open = Until a refresh has ended, nothing limits the time in which an intruder may collect what { $k } servers hold.
generation-window = To read anything, an intruder must hold { $k } servers within { $days } days and the time that a refresh takes.

# doctor
doctor-versions = warifu { $version }, Linux { $kernel }
doctor-good = good
doctor-care = see to
doctor-bad = bad
doctor-unknown = unknown
doctor-drive = this user can mount drives.
doctor-swap = no swap is on that is not encrypted.
doctor-memory = memory can be locked.
doctor-clock = the clock is set by a time server.
doctor-clock-alone = the clock is not set by a time server: times in the audit log may be wrong.
doctor-clock-next = turn it on with: timedatectl set-ntp true
doctor-clock-unknown = whether the clock is set by a time server cannot be told here.
doctor-vault-file = { $path } can be changed by its owner only.
doctor-vault-file-open = { $path } can be changed by others, who could so send files to servers of their own.
doctor-vault-file-open-next = take that away with: chmod go-w { $vault }
doctor-catalogue = the catalogue in { $dir } has { $free } of free room.
doctor-catalogue-network = the catalogue lies in { $dir }, on a network file system ({ $kind }): SQLite can be damaged there when two machines use it.
doctor-catalogue-network-next = move the vault file and the catalogue beside it to a local disk, with no drive mounted.
doctor-catalogue-room = the catalogue in { $dir } has only { $free } of free room; when it is used up, nothing can be saved.
doctor-catalogue-room-next = make room on that disk.
doctor-servers = all { $n } servers answer and have all their shares; { $k } are needed to read.
doctor-vault-needs-care = the vault:

# Called by mount(8)
fstab-places = mount.fuse.warifu needs a vault file and a folder.
fstab-option = the mount option { $option } is not known.
fstab-next = write the line of /etc/fstab like this: /etc/warifu/office.toml /srv/office fuse.warifu allow_other,_netdev,nofail 0 0 (options: ro, allow_other, allow_swap, memory_limit=MIB, lang=ja)

# Manual pages
manpages-written = { $pages } manual pages are in { $dir }.
man-name = NAME
man-synopsis = SYNOPSIS
man-description = DESCRIPTION
man-options = OPTIONS
man-commands = COMMANDS
man-version = VERSION
man-examples = EXAMPLES
man-exit-status = "EXIT STATUS"

threshold-now = The threshold is { $k } of { $n } servers. { $meaning }
threshold-presets = It can become, among others:
threshold-preset = { "  " }{ $name }: { $k } of { $n }. { $meaning }
threshold-choose-next = see what a change would do with: { $warifu } threshold { $vault } -k K -n N --server NEW-SERVER …
threshold-meaning = { $stolen } { $away }
threshold-stolen = { $servers ->
    [0] One server stolen: everything is read.
    [one] One server stolen: nothing leaks.
   *[other] { $servers } servers stolen: nothing leaks.
}
threshold-away = { $servers ->
    [0] One server down: work stops.
    [one] One server down: work goes on.
   *[other] { $servers } servers down: work goes on.
}
threshold-resumes = This change was begun and has not ended. It goes on.
threshold-plan = From { $k } of { $n } servers to { $to_k } of { $to_n }, while files are in use.
threshold-added = { "  " }{ $index }. { $server }  { $url }  (new)
threshold-removed = { "  " }{ $server } goes: what it has is removed, then its seat.
threshold-work = To be shared anew: { $files ->
    [one] 1 file
   *[other] { $files } files
} with all versions, { $extents } extents; { $size } to be sent to { $n } servers.
threshold-time = This takes at least about { $time }, judging by how quickly shares are read now.
threshold-time-unknown = How long it takes cannot be told.
about-seconds = { $number ->
    [one] a second
   *[other] { $number } seconds
}
about-minutes = { $number } minutes
about-hours = { $number } hours
threshold-joined = { $extents } of these extents are joined in memory and shared anew.
threshold-before = Before: { $meaning }
threshold-during-more = Meanwhile: as before. Not before the last old share is gone from every server are { $to_k } servers needed to read; until then { $k } are enough for what is left. Servers that cannot remove theirs are named.
threshold-during-fewer = Meanwhile: from the first file on, { $to_k } servers are enough to read it. What is not shared anew yet is as before.
threshold-during-same = Meanwhile: { $k } servers are needed, before and after. What is not shared anew yet may lose as many servers as before.
threshold-during-away = Until it has ended, everything can be read with { $servers ->
    [0] all servers only
    [one] one server away at most
   *[other] { $servers } servers away at most
}.
threshold-after = Afterwards: { $meaning }
threshold-copied = What somebody has copied of { $k } servers before it ended stays readable for him.
threshold-absent = Servers that do not answer keep what they have until they are back. Until then the change has not ended.
threshold-apply-next = carry this out with the same command and --yes
threshold-done = The threshold is { $k } of { $n } now, for everything: nothing of before is left on any server.
threshold-left-next = when all servers answer, repeat: { $warifu } threshold { $vault } --yes
threshold-under-way = The threshold is being changed to { $k } of { $n } and is not that yet; { $left } extents are left.
threshold-unsaid = new servers are named, but no threshold
threshold-unsaid-next = say which with -k K -n N or --preset NAME; for one server more there is: { $warifu } server add { $vault } URL
no-preset = there is no preset "{ $name }"
no-preset-next = name one of: { $known }; or say it with -k K -n N
same-place = { $server } is the same place as { $other }: two names for one disk
new-servers = { $needed ->
    [0] no new server is needed, and { $got } were named
    [one] one new server is needed, and { $got } were named
   *[other] { $needed } new servers are needed, and { $got } were named
}
new-servers-next = name each new server with --server URL, and no more than come.
same-threshold = the threshold is { $k } of { $n } already
same-threshold-next = see what it could become with: { $warifu } threshold { $vault }
threshold-busy = the threshold is being changed to { $k } of { $n } already, and that has not ended
other-threshold = the vault file says { $k } of { $n }, and the catalogue says { $other_k } of { $other_n }: one of them is from before a change
other-threshold-next = where the vault file is an old copy, get it anew from whoever changed the threshold. Where the catalogue was brought back from a backup, say once more what the vault file says: { $warifu } threshold { $vault } -k K -n N --yes
