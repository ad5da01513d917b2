# Thresholds of folders
folder-asks = { "  " }{ $path } and all below it: { $k } of { $n } servers
folder-asks-in-vain = { "  " }{ $path } and all below it: asks for { $k } of { $n } servers, and gets { $to_k } of { $to_n }
folder-removed = (a folder that was removed)
folder-now = { $path }: what is saved here needs { $k } of { $n } servers. { $meaning }
folder-inherits = It asks for nothing of its own: the folder above it counts, and at last the vault.
folder-choose-next = see what a change would do with: { $warifu } threshold { $vault } --folder { $path } -k K -n N
folder-is-root = the threshold of the whole drive is the vault's
folder-is-root-next = change it with: { $warifu } threshold { $vault } -k K -n N
folder-impossible = a folder cannot have { $k } of { $n } servers in a vault of { $vault_k } of { $vault_n }
folder-impossible-next = let it need at least as many servers as the vault, of no more than the vault has.
folder-same = { $path } has { $k } of { $n } servers already, and everything is shared so
folder-same-next = see which folders ask for something with: { $warifu } threshold { $vault }
folder-needs-more = { $path } asks for { $needed } servers, and there would be { $n }
folder-needs-more-next = have the folder ask for less first: { $warifu } threshold { $vault } --folder PATH -k K -n N --yes (or --inherit)
folder-plan = { $path } and all below it: from { $k } of { $n } servers to { $to_k } of { $to_n }, while files are in use.
folder-work = To be shared anew: { $extents } extents, with all versions; { $size } to be sent.
folder-during-more = Meanwhile: what is saved from now on needs { $to_k } servers. Of what is there already { $k } are enough until it is shared anew and the old shares are gone from every server.
folder-during-fewer = Meanwhile: what is saved or shared anew can be read from { $to_k } servers; the rest is as before.
folder-names = The names of files stay as secret as the vault makes them. A file goes by the folder that it is in: after a move it is shared anew by the next save or refresh.
folder-done = { $path } has { $k } of { $n } servers now, for everything in it: nothing of before is left on any server.
folders-work = { $extents ->
    [0] Everything is shared as its folder asks.
    [one] One extent is not shared as its folder asks.
   *[other] { $extents } extents are not shared as their folders ask.
}
folders-done = Everything is shared as its folder asks: nothing of before is left on any server.
folders-next = share it as its folder asks with: { $warifu } threshold { $vault } --folders --yes
generation-unlike = { $extents ->
    [one] One extent is not shared as its folder asks: its file was there before, or was moved.
   *[other] { $extents } extents are not shared as their folders ask: their files were there before, or were moved.
}
