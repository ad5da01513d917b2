
# 時刻
bad-time = 「{ $text }」は時刻として読めません。
bad-time-next = 2026-11-27 14:00、14:00、昨日、「昨日 14:00」、「2時間前」のように書いてください。

# 履歴
history-line = 版 { $version }  { $time }  { $size }  { $author }@{ $host }
history-current = （現在の版）
history-empty = { $subject } はまだ保存されていません。
history-moved = { $time } までの名前は { $name } でした
history-removed = { $name } は { $time } に削除されました

# 復元
restored-version = { $subject } を版 { $version }（{ $size }）の内容に戻しました。直前の内容も版として残っています。
restore-plan = { $time } の状態へ: { $versions } 個のファイルを前の版に戻し、ファイル { $files } 個とフォルダ { $folders } 個を復活させ、{ $back } 個を元の名前に戻し、{ $removes } 個の名前を削除します。{ $same } 個は当時のままです。
restore-nothing = することはありません。{ $same } 個すべてが { $time } のままです。
restore-aside = { $path }: 同じ場所にあるものの名前を { $name } に変えます
restore-folder = { $path }: フォルダを復活させます
restore-back = { $path }: { $from } から戻します
restore-file = { $path }: 版 { $version } で復活させます（{ $size }）
restore-version = { $path }: 版 { $version } に戻します（{ $size }）
restore-special = { $path }: 復活させます
restore-remove = { $path }: 当時はなかったので削除します（履歴には残ります）
restore-more = … ほか { $more } 件。--json で全部を表示します。
restore-newer = 当時なかった { $newer } 個の名前はそのまま残ります。削除するには --exact を付けます。
restore-done = 完了しました（{ $steps } 件）。失われたものはありません。直前の状態も履歴に残っています。
restore-failed = { $steps } 件はできませんでした。その対象は元のままです:
restore-changed = { $path }: 計画を立てた後に誰かが変更しました。
restore-failed-next = もう一度同じコマンドを実行してください。残りを行います。
restore-yes-next = 実行するには、同じコマンドに --yes を付けてください。

# 監査記録
audit-no-act = 監査記録に「{ $act }」という操作はありません。
audit-no-act-next = 次のどれかを指定してください: { $known }
audit-chain-holds = 連鎖は最初から最後まで正常です（{ $lines } 行）。
audit-gap = 異常: { $expected } 行目があるべき所に { $found } 行目があります。間の行が取り除かれたか、作り直しで見つかりませんでした。
audit-chain-broken = 異常: { $seq } 行目が前の行に続いていません。{ $seq } 行目かその前の行が書き換えられたか、差し替えられました。それより前は正常です。
audit-unreadable = 異常: { $seq } 行目を開けません。書き換えられたか壊れています（{ $detail }）。
audit-broken-next = 調査のため、目録をそのまま保管してください。記録は割符サーバにも残っています。保管庫ファイルの写しと { $warifu } rebuild で、別の場所に目録を作り直せます。
audit-servers-agree = 割符サーバの記録も同じです（{ $last } 行目まで）。
audit-servers-nothing = 割符サーバに監査記録の行はありません。
audit-lines-gone = 欠落: 目録自身の記録によれば { $first } 行目から { $last } 行目までがあったはずですが、今はありません。
audit-missing = { $first } 行目から { $last } 行目までは割符サーバに置かれたはずですが、どの区分にもありません。これらの行は誰も保証できません。
audit-newer-segment = 割符サーバには、この目録が書いたことのない変更記録の区分（番号 { $segment }）があります。目録が古い可能性があります。
audit-cut-off = 欠落: 割符サーバには { $seq } 行目から { $last } 行目までがありますが、目録にはありません。目録が古いか、記録が切り取られています。
audit-cut-off-next = 誰がこの目録を置いたか確かめてください。新しい状態は割符サーバから作り直せます: { $warifu } rebuild { $vault }
audit-servers-differ = 差し替え: { $seq } 行目の内容が、割符サーバと目録とで違います。
audit-incomplete-next = 止まっている割符サーバを復旧してから、もう一度検査してください。すべての行を比べられるのはそれからです。目録を作り直したり移したりした直後なら、先に一度ドライブをマウントしてください。それでも足りない行は、割符サーバから取り除かれています。
audit-no-servers = 調べられる割符サーバが足りず、記録を比べられません。
audit-no-servers-next = 復旧してからやり直すか、--local で連鎖だけを検査してください。
audit-copy-agrees = { $path } は同じ内容です（{ $lines } 行、{ $first } 行目から { $last } 行目まで）。
audit-copy-empty = { $path } にこの記録の行はありません。
audit-copy-differs = 相違: { $path } の { $seq } 行目が目録と違います。
audit-copy-other = 写しのうち { $lines } 行は別のもので、比べていません。

# ごみ箱と容量
trash-line = { $path }  { $time } に削除  { $size }
trash-empty = ごみ箱は空です。
trash-not-found = { $subject } に当たるものはごみ箱にありません。
trash-not-found-next = 一覧を確認してください: { $warifu } trash list { $vault }
trash-restored = { $files } 個のファイルを戻しました。
df-server = { $server }: { $size }（{ $objects } 個）
df-folders = フォルダごと（全サーバの合計）:
df-folder = { $folder }: 現在の版 { $current }、過去の版 { $older }、削除されたファイル { $removed }
df-ages = 過去の版と削除されたファイルの古さ:
df-age = 保存から { $days } 日未満: { $size }
df-age-rest = それより古いもの: { $size }
df-journal = 目録の変更記録: { $size }
df-other = 名前を持ったことのないもの: { $size }
df-compact = 方式 shamir の分: { $shamir }。compact なら { $compact } で、{ $saved } 少なくなります。ただし k 台未満から何もわからないという約束は、暗号が破られないかぎり、という条件付きになります。
