# Thresholds of folders
folder-asks = { "  " }{ $path } and all below it: { $k } of { $n } servers. { $meaning }
folder-asks-in-vain = { "  " }{ $path } and all below it: asks for { $k } of { $n } servers, and gets { $to_k } of { $to_n }. { $meaning }
folder-removed = { "  " }What is kept of a folder that was removed: { $k } of { $n } servers.
folder-now = { $path }: what is saved here needs { $k } of { $n } servers. { $meaning }
folder-inherits = It asks for nothing of its own: the folder above it counts, and at last the vault.
folder-choose-next = see what a change would do with: { $warifu } threshold { $vault } --folder { $path } -k K -n N
folder-is-root = the threshold of the whole drive is the vault's
folder-is-root-next = change it with: { $warifu } threshold { $vault } -k K -n N
folder-impossible = a folder cannot have { $k } of { $n } servers in a vault of { $vault_k } of { $vault_n }
folder-impossible-next = let it need at least as many servers as the vault, of no more than the vault has.
folder-needs-more = { $path } asks for { $needed } servers, and there would be { $n }
folder-needs-more-next = have the folder need fewer first: { $warifu } threshold { $vault } --folder PATH -k K -n N --yes (or --inherit)
folder-plan = { $path } and all below it: from { $k } of { $n } servers to { $to_k } of { $to_n }, while files are in use.
folder-work = To be shared anew, with what else is not as its folder asks: { $extents ->
    [one] one extent
   *[other] { $extents } extents
}, with all versions; { $size } to be sent.
folder-during-more = Meanwhile: what is saved from now on needs { $to_k } servers. Of what is there already { $k } are enough until it is shared anew and the old shares are gone from every server.
folder-during-fewer = Meanwhile: what is saved or shared anew can be read from { $to_k } servers; the rest is as before.
folder-names = The names of files stay as secret as the vault makes them. A file goes by the folder that it is in: what is moved is shared anew by the next refresh, or by --folders --yes; what is saved after the move goes by the new folder at once.
folder-done = { $path } and all below it have { $k } of { $n } servers now: nothing of before is left on any server.
status-folder = { "  " }{ $path } and all below it, { $k } of { $n } servers: { $spare }
folders-done = Everything is shared as its folder asks: nothing of before is left on any server.
folders-next = share it as its folder asks with: { $warifu } threshold { $vault } --folders --yes
generation-unlike = { $extents ->
    [one] One extent is not shared as its folder asks: its file was there before, or was moved.
   *[other] { $extents } extents are not shared as their folders ask: their files were there before, or were moved.
}
folder-during-still = Until it has ended, some of it is shared as before, and can be read from as few servers as before.
folders-but-for = But for what folders ask themselves:
folders-left-next = when all servers answer, repeat: { $warifu } threshold { $vault } --folders --yes
status-but-for-folders = But for the folders below:
