# 日本語の文言。英語は en.ftl。両者がそろっていることはテストが確かめる。
# どの文言でも $warifu はこのプログラムの呼び方、$vault は指定された保管庫ファイルを表す。

next = 次の手順: { $next }

# 終了コード
help-exit-codes = 終了コード:
help-examples = 例:
exit-ok = 完了
exit-failed = 実行できなかった
exit-usage = コマンドの指定が正しくない
exit-care = 完了したが対応が必要（割符の異常、応答しないサーバ、除いたファイル）
exit-not-found = ファイル・フォルダ・版・保管庫が存在しない
exit-too-few = 応答するサーバ、または正常な割符が足りない
exit-exists = すでに存在する（上書きしていない）
exit-no-room = 空き容量がない
exit-no-mount = ここではドライブをマウントできない
exit-bad-input = 保管庫ファイル・割符・サーバが壊れているか、別のもの
exit-lost = 保存できなかった変更がある（ファイル名は報告済み）
exit-repaired = 異常が見つかり、すべて修復した
exit-interrupted = 利用者が中断した
usage = コマンドの指定が正しくありません: { $detail }
usage-next = { $warifu } --help で使い方を確認してください。
interrupted = 中断しました。途中のものは残っていません。
interrupted-next = 続けるには、同じコマンドをもう一度実行してください。

# 共通
the-vault = 保管庫
the-path = パス
amount = { $files } ファイル、{ $size }
failed = { $subject }: { $detail }
failed-next = サーバの状態を確認してください: { $warifu } status { $vault }
try-again-next = もう一度実行してください。
stream-failed = 読み書きに失敗しました: { $detail }

# 手元のファイル
local-not-found = { $path } が存在しません。
local-not-found-next = パスを確認してください。
local-exists = { $path } はすでに存在します。上書きはしていません。
local-exists-next = 別の名前を指定するか、--force があるコマンドではそれを付けて置き換えてください。
local-denied = { $path }: アクセス権がありません。
local-denied-next = ファイルとフォルダの所有者・権限を確認してください。
local-full = { $path }: ディスクに空きがありません。
local-full-next = 空きを作ってから、もう一度実行してください。
local-failed = { $path }: { $detail }
local-failed-next = ディスクまたは相手側を確認してから、もう一度実行してください。

# 保管庫の中の名前
not-found = { $subject } は保管庫に存在しません。
not-found-next = 中身を確認してください: { $warifu } ls { $vault }
version-not-found = { $subject } にその版はありません。
version-not-found-next = 版の一覧を確認してください: { $warifu } history { $vault } ファイル
no-such-folder = { $subject } は保管庫のフォルダではありません。
exists = { $subject } は保管庫にすでに存在します。
exists-next = 別の名前を指定してください。
not-empty = { $subject } は空ではありません。
not-empty-next = 中身ごと削除するには: { $warifu } rm -r
not-a-folder = { $subject } はフォルダではありません。
not-a-folder-next = フォルダを指定するか、ファイルの場合は末尾の / を外してください。
is-a-folder = { $subject } はフォルダです。
is-a-folder-next = ファイルを指定してください。
rm-folder-next = フォルダを中身ごと削除するには -r を付けてください。
into-itself = { $subject }: フォルダをその中へ移動することはできません。
into-itself-next = そのフォルダの外を指定してください。
name-too-long = { $subject }: 名前が { $got } バイトあり、長すぎます（上限は { $limit } バイト）。
name-too-long-next = もっと短い名前にしてください。
name-impossible = { $subject }: この名前は使えません。
name-impossible-next = 空の名前、「..」、NUL 文字は使えません。
too-large = { $subject }: { $size } は大きすぎます（上限は { $limit }）。
too-large-next = ファイルを分けてください。
put-no-folder-next = 先にフォルダを作ってください: { $warifu } mkdir -p { $vault } フォルダ （put では --parents でも作れます）
mkdir-parents-next = 途中のフォルダも作るには -p を付けてください。
get-no-folder = { $path } はフォルダではありません。
get-no-folder-next = 先にフォルダを作るか、1 つのファイルに 1 つの行き先を指定してください。
put-stdin-name = 標準入力から入れるには、行き先のファイル名が必要です。
put-stdin-name-next = 「-」だけを指定し、行き先にはフォルダでないパスを指定してください。
read-only = 保管庫は読み取り専用で開かれています。
read-only-next = 変更するには --read-only を付けずにマウントしてください。

# 割符とサーバ
too-few-shares = { $subject }（版 { $version }）は今は読めません。正常な割符が { $needed } 個必要ですが、{ $got } 個しか得られません。
too-few-shares-next = 上のサーバを復旧してから検査してください: { $warifu } verify { $vault }
not-stored = { $subject } を保存できません。{ $needed } 台のサーバに割符を置く必要がありますが、{ $got } 台にしか置けません。前の版はそのままです。
not-stored-next = サーバを復旧してから保存し直してください: { $warifu } status { $vault }
no-room-next = 空きのないサーバの容量を増やすか空きを作ってから、保存し直してください。
lapsed = { $subject }: 保存に時間がかかりすぎたため取りやめました。前の版はそのままです。
overtaken = 保管庫全体の割符の作り直しが同時に行われているか、その間に保管庫ファイルが書き換えられました。ファイルに影響はありません
overtaken-next = 少し待ってから { $warifu } status { $vault } で進みぐあいを確かめ、まだ必要ならもう一度実行してください。
no-randomness = OS から乱数を得られません。乱数がなければ割符を作れません。
no-randomness-next = getrandom システムコールが許可されているか確認して、もう一度実行してください。
damaged = { $subject } が壊れています: { $detail }
damaged-next = 壊れた割符を確認してください: { $warifu } verify { $vault } --deep
shutting-down = 保管庫を閉じているところです。
server-away = 注意: { $fault }
fault-missing = 割符がない
fault-corrupt = 破損
fault-stale = 古い
fault-foreign = この保管庫のものではない
fault-newer = 新しい版の warifu が作ったもの
fault-no-answer = 応答なし
fault-full = 空き容量なし
fault-denied = アクセス拒否
fault-failed = エラー
lost = { $files } 個のファイルの最後の変更を保存できず、失われました:
lost-next = それまでの版はそのままです。作業を続ける前にサーバを復旧してください: { $warifu } status 保管庫ファイル

# 保管庫を開く・作る
vault-file-not-found = 保管庫ファイル { $path } がありません。
vault-file-not-found-next = パスを確認するか、新しく作ってください: { $warifu } init { $vault } --threshold 2 サーバ サーバ サーバ
vault-file-exists = { $path } はすでに存在します。上書きはしていません。
vault-file-exists-next = 新しい保管庫には別の名前を付けてください。
vault-file-changed = { $path } は、そのあいだにほかの人によって変更されました。
vault-file-changed-next = 今の内容を確かめて（{ $warifu } threshold { $vault }）、やり直してください。
vault-file-newer = { $path } の形式は { $found } で、より新しい warifu で作られています。
newer-next = 新しい版の warifu を使ってください。
vault-file-invalid = { $path } の { $line } 行目: { $problem }
vault-file-invalid-next = { $path } の { $line } 行目を直すか、控えから戻してください。
problem-value = { $field } の値「{ $found }」は使えません。使えるのは { $allowed } です。
problem-twice = 2 台のサーバの { $field } が同じです（「{ $found }」）。
problem-count = threshold.n は { $needed } ですが、サーバは { $got } 台書かれています。
problem-secret = { $field } にパスワードが書かれています。
problem-secret-next = 保管庫ファイルからパスワードを消してください。秘密は書けません。
bad-threshold = { $n } 台中 { $k } 台というしきい値は使えません。
bad-threshold-next = サーバは 1 台から 255 台、しきい値は 1 からサーバの台数までで指定してください。
too-many-servers = サーバが { $n } 台では多すぎます。
same-name = 「{ $server }」という名前のサーバが 2 台あります。
same-name-next = 「名前=URL」でサーバごとに別の名前を付けてください。
url-not-built-in = { $server }: { $scheme } のサーバには、この版では対応していません。
url-bad = { $server }: { $detail }
url-next = フォルダ（パス、dir:パス、file:///パス。マウントしたファイルサーバのフォルダも可）か、サーバ（sftp://ユーザ@ホスト/パス、webdavs://ホスト/パス、s3://バケット?endpoint=https://ホスト）を指定してください。
store-not-empty = { $server }: フォルダ { $path } は空ではありません: { $found }
store-not-empty-next = サーバごとに、空のフォルダか新しいフォルダを指定してください。
store-in-use = { $server }: { $path } はすでに保管庫に使われています。
store-inside = { $server }: { $path } はサーバ { $store } の中にあります。
store-inside-next = サーバごとに別のフォルダを、できれば別の計算機に用意してください。
store-no-parent = { $server }: フォルダ { $parent } がないため、{ $path } を作れません。
store-no-parent-next = ファイルサーバがマウントされているか確認するか、フォルダを作ってください。
store-failed = { $server }: { $detail }
store-failed-next = フォルダがあり、書き込めるか確認してください。
founding-failed = 保管庫を作れません: { $detail }
founding-failed-next = サーバを確認して、もう一度実行してください。
too-few-servers = 保管庫を開けません。{ $needed } 台のサーバが必要ですが、正しく応答したのは { $got } 台です。
too-few-servers-next = 上のサーバを復旧して（マウントされていますか）、もう一度実行してください。
wrong-vault = これらのサーバは、この保管庫の鍵を持っていません。
wrong-vault-next = 保管庫ファイルと、そこに書かれたサーバの場所が正しい組か確認してください。
mixed-vaults = 別々の保管庫のサーバが混ざっています。
mixed-vaults-next = 別の保管庫のサーバを除いてください。偽のサーバは、どの保管庫のものとでも名乗れます。見分けがつかないときは、手元のサーバをすべて指定してください。
catalog-missing = 目録 { $path } がありません。
catalog-missing-next = サーバから作り直してください: { $warifu } rebuild { $vault }
catalog-exists = 目録 { $path } がすでにあります。
catalog-exists-next = 保管庫ファイルに別の名前を付けてください。目録の名前はそれに合わせて付きます。
catalog-no-answer = 目録が応答しません: { $detail }
catalog-no-answer-next = ほかの処理が使っているか、保管庫ファイルに書かれたデータベースが止まっているか届かないかもしれません。少し待って、もう一度実行してください。
catalog-url = データベースの指定を使えません: { $detail }
catalog-url-next = postgres://ユーザー@ホスト/データベース の形で、パスワードを含めずに書いてください。パスワードは --catalog-option password=file:パス で指定します。
catalog-option = 目録のデータベースの指定を使えません: { $detail }
catalog-option-next = password=file:パス、password=env:変数名、ca=パス のどれかを書いてください。ファイルは自分だけが読めるようにし、パスワードを入れておきます。
catalog-password = 目録のデータベースのパスワードが見つかりません: { $detail }
catalog-failed = 目録 { $path } が受け付けません: { $detail }
catalog-failed-next = 移された場合は、今の保管庫ファイルを使ってください。データベースが拒む場合は、保管庫ファイルのユーザーとパスワード、データベースでの権限を確かめて、もう一度実行してください。
catalog-full = 目録を書く空き容量がありません。
catalog-newer = 目録の形式は { $found } ですが、この warifu が扱えるのは { $known } までです。
catalog-mounted = 目録は古い warifu の形式なので、まず新しい形式に直す必要がありますが、古い warifu のドライブが { $count } 個まだ接続されています: { $drives }
catalog-mounted-next = 取り外してからもう一度実行し、この warifu で接続してください。それまでは古い warifu をそのまま使えます。停止した機械のドライブも、30 秒間は接続中と数えます。
catalog-damaged = 目録 { $path } を使えません: { $detail }
catalog-damaged-next = 控えから戻してください。中身はサーバに残っています。
init-done = { $path }: 新しい保管庫を作りました。{ $n } 台のサーバのうち、どの { $k } 台からでもすべてのファイルを読めます。
init-next = 保管庫ファイルと、その隣の目録の控えを取っておいてください。
    ファイルを入れる:     { $warifu } put { $vault } ファイル /
    ドライブとして使う:   { $warifu } mount { $vault } フォルダ
init-threshold-one = 注意: しきい値が 1 なので、どのサーバも単独ですべてを読めます。
init-compact = 注意: 分散の方式は compact です。各サーバに置く量はファイルの { $k } 分の 1 で済みますが、{ $k } 台未満から何もわからないのは、暗号（AES-256）が破られないかぎりです。方式 shamir なら暗号に頼りません。
init-threshold-all = 注意: このしきい値では 1 台も失えません。1 台でもなくなると、どのファイルも読めません。

# コピー
copied = { $amount } をコピーしました。
copied-skipped = 上に示した { $files } 個は除きました。
skipped = 除きました: { $path }: { $why }
skip-special = パイプ、ソケット、またはデバイスです
put-degraded = 注意: 応答しないか空きのないサーバがあり、まだ割符を置けていません。ファイルは読めます: { $warifu } status { $vault }

# 状態と検査
status-threshold = { $n } 台のうち { $k } 台あれば読めます。
status-compact = 新しいファイルの分散の方式は compact です。各サーバの割符はファイルの { $k } 分の 1 で、秘密は暗号が破られないかぎり守られます。
state-normal = 通常
status-free = 空き { $size }
status-usage = { $files } ファイル、{ $folders } フォルダ、{ $size }、{ $versions } 版。
open-files-drives = { $drives ->
    [0] マウントされているドライブはありません。
   *[other] { $drives } 台のドライブがマウントされています:
}
open-files-drive = { $host } の { $place }（{ $actor }、{ $time } から）
open-files-open = { $files ->
    [0] 書き込み用に開かれているファイルはありません。オフィスソフトが残したロックファイルは消してかまいません。
   *[other] { $files } ファイルが書き込み用に開かれています:
}
open-files-by = { $host } の { $actor } が { $program } で { $time } から
open-files-locked = { $host } のプロセス { $pid } がロックしています
status-owed = { $extents } 区画の割符 { $shares } 個を、まだサーバに置けていません。
status-spare = あと { $spare } 台なくなっても、すべて読めます。
status-no-spare = すべて読めますが余裕がありません。これ以上 1 台も失えません。
status-unreadable = あと { $missing } 台のサーバが応答するまで、何も読めません。
status-away-next = 応答しないサーバを復旧してください（マウントされていますか）。
state-degraded = 縮退
state-read-only = 読取専用
state-stopped = 停止
state-because = { $state }（{ $reason }）
state-slow = 応答が遅い
state-behind = 割符があと { $shares } 個必要
status-latency = { $ms } ms
status-last-success = 最後の応答 { $time }
status-weak = 割符がそろっていないファイルが { $files } 件あります:
status-weak-spare = あと { $spare } 台なくなっても読めます
status-weak-at-risk = これ以上 1 台も失えません
status-weak-unreadable = いまは読めません
status-weak-journal = 目録の変更記録の割符がそろっていません: { $spare }
status-at-risk = ただし { $files } ファイルは、次に失うサーバによっては読めなくなります。
status-weak-lost = ただし { $files } ファイルは、ほかのサーバの停止中に保存されたため、いまは読めません。
status-emptied-next = 保管庫の鍵の断片がありません。中身を消されたり取り替えられたりしたのなら、元のサーバを戻すか、控えから復元してください。ほかの用途で書き込まれたサーバは使わないでください。
status-denied-next = サーバ側のアカウントと権限を確認してください。
status-refusing-next = 読めますが書けません。権限と、読取専用でマウントされていないかを確認してください。
status-slow-next = サーバの負荷とネットワークを確認してください。読み出しはほかのサーバで続けます。
status-journal-behind = { $time } 以降の移動、削除、フォルダの作成は目録にしかありません。今目録を失うと、それらも失われます（ファイルの内容は失われません）。
status-journal-behind-next = 十分な数のサーバが書き込みを受け付けることを確認し、ドライブをマウントするか、マウントしたままにしてください。変更は自動的にサーバへ書き込まれます。
status-owed-next = サーバの復旧後、足りない割符を作ってください: { $warifu } verify { $vault } --repair
verify-no-name = （削除されたファイル）
verify-owed = （未配置として記録済み）
verify-more = ほか { $more } 件。--json ですべて表示します。
verify-lost = 喪失: { $file }（版 { $version }）: 正常な割符が { $needed } 個必要ですが、{ $good } 個しか残っていません。
verify-unreadable = 読めません: { $file }（版 { $version }）: 正常な割符が { $needed } 個必要ですが、今は { $good } 個しか得られません。
verify-lost-journal = 喪失: 目録の変更記録の区切り { $segment }: 正常な割符が { $needed } 個必要ですが、{ $good } 個しか残っていません。
verify-unreadable-journal = 読めません: 目録の変更記録の区切り { $segment }: 正常な割符が { $needed } 個必要ですが、今は { $good } 個しか得られません。
verify-server = { $server }: 正常 { $good }
verify-orphans = どの版にも使われないもの { $count }
verify-foreign = warifu のものではないファイル { $count }
verify-clean = { $extents } 区画すべてが、あるべき場所にあります。
verify-clean-next = 全バイトを読んで検査するには --deep を付けてください。
verify-clean-deep = { $extents } 区画すべてが、どのサーバでも無傷です。
verify-silent = { $server }: 応答がなく、割符 { $shares } 個を検査できませんでした（{ $detail }）
verify-silent-next = 応答しないサーバを復旧し（マウントされていますか）、もう一度検査してください。
verify-damage = { $findings } 個の割符に異常があります。ファイルはすべて読めます。
verify-newer-next = 新しい版の warifu がこの保管庫に書き込んでいます。この機械の warifu を更新してから、もう一度実行してください。
verify-damage-next = 失われた割符や壊れた割符は、正常な割符から作り直せます: { $warifu } verify { $vault } --repair
verify-too-few = { $files } 個の版が読めません。
verify-too-few-journal = 目録の変更記録のうち { $segments } 個の区切りが読めません。
verify-too-few-journal-next = 上のサーバを復旧してください。それまで目録を大切に保管してください。この部分の内容は今は目録にしかありません。ファイルは読めます。
verify-too-few-next = まず上のサーバを復旧してください。何も削除しないでください。
verify-journal = （目録の変更記録）
verify-resumed = 注意: 前回中断したところから続けます（{ $extents } 区画まで検査済み）。

# 修復
repair-plan = 作り直すもの: 割符 { $shares } 個、{ $size }。
repair-plan-server = { "  " }{ $server }: 割符 { $shares } 個、{ $size }
repair-plan-risk = { "  " }先に、{ $n } 個のうち正常な割符が { $standing } 個しかない { $extents } 区画から始めます。
repair-plan-key = { "  " }{ $server }: 保管庫の鍵の割符（{ $fault }）
repair-waiting = { "  " }{ $server }: 応答がないため、割符 { $shares } 個は待ちます
repair-orphans = { "  " }{ $server }: どの版にも使われないもの { $count } 個（{ $size }）を削除します
repair-nothing = いま修復するものはありません。
repair-apply-next = この計画を実行するには: { $warifu } verify { $vault } --repair --yes
repair-done = 割符 { $shares } 個を作り直しました（{ $size }）。{ $found } 個はすでにありました。
repair-key-done = { "  " }{ $server }: 保管庫の鍵の割符を元に戻しました
repair-liar = { "  " }{ $server }: 正常と思われていた割符 { $shares } 個に異常: { $fault }
repair-swept = { "  " }{ $server }: どの版にも使われないもの { $count } 個を削除しました
repair-left = 割符 { $shares } 個がまだありません。
repair-left-next = 上のサーバが応答し空きができたら、もう一度実行してください: { $warifu } verify { $vault } --repair --yes
repair-whole = すべての割符が、あるべき場所にあります。
orphans-young = { "  " }{ $server }: どの版にも使われないもの { $count } 個は、猶予期間より新しいため残します
orphans-undated = { "  " }{ $server }: どの版にも使われないもの { $count } 個は、サーバが日時を示さないため残します
orphans-newer = { "  " }{ $server }: 目録にない作業かもしれないものが { $count } 個あり、残します。目録はバックアップから戻したものですか。
orphans-newer-next = 目録を別の場所へ移し、新しい目録に取り戻すには { $warifu } rebuild { $vault }。誰も要らないなら、取り除くには { $warifu } verify { $vault } --repair --drop-newer --yes
orphans-unsure = { "  " }{ $server }: すべてのサーバを調べられるまで { $count } 個を残します。
orphans-error = { "  " }{ $server }: 使われないものを探せませんでした（{ $detail }）

# 割符サーバ
no-server = この保管庫に { $server } というサーバはありません。あるのは { $known } です。
no-server-next = 一覧するには: { $warifu } server list { $vault }
place-taken = { $server } の新しい場所は、すでに保管庫に使われています。
place-taken-next = 空のフォルダまたは場所を指定してください。何も変更していません。
catalog-busy = { $saves } 件の保存が進行中か、直前に途切れています。
catalog-busy-next = この保管庫のドライブをすべてアンマウントし、途切れた保存の後始末を数分待ってから、もう一度実行してください。
catalog-differs = 目録の写しが元と一致しません（{ $detail }）。何も移していません。
catalog-differs-next = { $warifu } verify { $vault } を実行し、結果とともに報告してください。
catalog-move-plan = 目録を { $from } から { $to } へ移します: ファイル { $files }、フォルダ { $folders }、版 { $versions }、監査記録。先にすべてのドライブをアンマウントしてください。移し始めると、元の目録は変更を受け付けません。
catalog-move-same = 目録はすでに { $from } にあります。途中で止まった移動を取り消し、目録の変更を再び受け付けます。
catalog-move-begun = 注意: 以前に始めて途中で止まった移動があります。続きから行います。
catalog-move-saves = 注意: 終わっていない保存が { $saves } 件あります。
catalog-move-next = 実行するには、同じコマンドに --yes を付けてください。
catalog-move-done = { $to } へ移しました: { $rows } 行と監査記録 { $lines } 行を照合し、一致しました。保管庫ファイルは新しい場所を指しています。すべての計算機に新しい保管庫ファイルを配ってください。
catalog-move-old = 注意: 元の目録 { $from } は残してあり、変更を受け付けません。すべての計算機が新しい目録を使うようになったら削除してください。
catalog-move-undone = 目録は再び変更を受け付けます。
replace-plan = { $server } は割符 { $index } のまま、新しい場所に移ります: { $old } → { $new }
replace-old-answers = 注意: 元の場所がまだ応答します。この保管庫ファイルを使っているドライブは、数秒で新しい場所に切り替わります。保管庫ファイルの複製を使っているドライブは外してください。
replace-beside = 注意: 新しい場所は { $servers } と同じディスクまたは計算機にあります。同時に失われるおそれがあります。
replace-begun = 注意: 新しい場所には、このサーバの鍵の割符がすでにあります。途中から続けます。
retire-plan = その後、すべての割符を新しい世代にします。古い場所にあるものと、その後に { $k } 台未満のサーバから得たものでは、何も読めません。
retire-next = 実行するには、同じコマンドに --yes を付けてください
retire-done = { $server } がこれまで持っていたものは無価値になりました。今の割符と組み合わせることはできません。古い場所は消去または返却できます。
server-same-place = { $servers } と同じディスクまたは機械にあります。一緒に失われます
server-same-credential = { $servers } と同じパスワードまたは鍵です。それを持つ者はすべてに入れます
replace-next = 実行するには、同じコマンドに --yes を付けてください。
replace-done = { $server } の割符は、新しい場所にすべてそろいました。
replace-unsettled = { $server } は新しい場所に移りましたが、元の場所にまだ割符が置かれています。保管庫ファイルの複製を使っているドライブがあります。そのドライブを外し、{ $warifu } verify { $vault } --repair を実行してから、元のディスクを破壊してください。
replace-old-disk = 注意: 元のディスクと新しい場所は同じ割符を持ちます。元のディスクは { $warifu } refresh { $vault } --yes で無価値にするか、破壊するか、新しい場所と同じように守ってください。保管庫ファイルの複製を使っているドライブがあったときは、先にそれを外して verify を実行してください。そこで保存された割符は元の場所にしかありません。

# ドライブ
mounted = { $dir } にドライブをマウントしました。外すには: { $command }
mounted-foreground = { $dir } にドライブをマウントしました。Ctrl-C で保存して外します。
unmounted = { $dir }: すべて保存し、ドライブを外しました。
background-failed = ドライブの処理を始められません: { $detail }
background-failed-next = { $warifu } mount に --foreground を付けると詳しく表示されます。
umount-no-report = { $dir } のドライブが報告なしに終了しました: { $detail }
umount-no-report-next = もう一度マウントして、最後の変更が残っているか確認してください。
mount-no-device = この計算機ではドライブをマウントできません。/dev/fuse がありません。
mount-no-device-next = fuse3 パッケージを入れるか（apt install fuse3）、カーネルモジュール fuse を読み込んでください。put や get などはこのままで使えます。
mount-denied = この利用者は /dev/fuse を使えません。
mount-denied-next = 管理者に許可を求めてください（/dev/fuse の権限を 0666 に）。put や get などはこのままで使えます。
umount-forced = 注意: ドライブを使用中のプログラムがあり、切り離しました。それまでに書かれた内容は先に保存しました。
mount-no-helper = 一般の利用者がマウントするには fusermount3 が必要ですが、見つかりません。
mount-no-helper-next = fuse3 パッケージを入れてください（apt install fuse3）。put や get などはこのままで使えます。
mount-not-found = { $dir } が存在しません。
mount-not-found-next = ドライブ用の空のフォルダを作ってください: mkdir { $dir }
mount-not-a-folder = { $dir } はフォルダではありません。
mount-not-a-folder-next = 空のフォルダを指定してください。
mount-not-empty = { $dir } は空ではありません。
mount-not-empty-next = 空のフォルダを指定してください。中身はドライブの陰に隠れてしまいます。
mount-taken = { $dir } にはすでにドライブがあります。
mount-taken-next = 先に外してください: { $warifu } umount { $dir }
mount-inside = { $dir } が保管庫のサーバの中にあるか、その逆です。
mount-inside-next = 別の場所にマウントしてください。
mount-allow-other = この計算機では --allow-other が許可されていません。
mount-allow-other-next = 管理者が /etc/fuse.conf に user_allow_other の行を書けば使えます。または --allow-other なしでマウントしてください。
mount-failed = { $dir } にマウントできません: { $detail }
mount-failed-next = put や get などはドライブなしで使えます。
umount-busy = { $dir } のドライブは使用中です。
umount-busy-next = 開いているファイルを閉じ、ドライブ上のフォルダから離れて、もう一度実行してください。
umount-not-mounted = { $dir } にドライブはありません。
umount-not-mounted-next = マウントされているものは findmnt -t fuse.warifu で確認できます。
umount-failed = { $dir } を外せません: { $detail }

# メモリの中身
ram-swap = 暗号化されていないスワップが有効です: { $areas }。開いている内容が、このプログラムや文書を表示するプログラムから、そのディスクに出るおそれがあります。
ram-swap-unknown = スワップが有効かどうかわかりません: { $detail }。開いている内容がディスクに出るおそれがあります。
ram-swap-next = スワップを切るか（swapoff -a を実行し、/etc/fstab の行を消す）、cryptsetup で暗号化してください（/etc/crypttab に「swap { $area } /dev/urandom swap,cipher=aes-xts-plain64,size=512」、/etc/fstab に「/dev/mapper/swap none swap sw 0 0」）。どちらもできないときは --allow-swap を付けてマウントできます。そのことは監査記録に残ります。
ram-not-locked = メモリを固定できません。この利用者が固定できるのは { $limit } までです。
ram-not-locked-refused = メモリを固定できません。システムが拒みました（エラー { $errno }）。
ram-not-locked-next = 次のコマンドで許可してください: ulimit -l unlimited。恒久的には、/etc/security/limits.d/warifu.conf に「利用者名 - memlock unlimited」と書くか、systemd のユニットに LimitMEMLOCK=infinity と書きます。
ram-tour = 注意: { $what }見本の文書なので体験は続けますが、ご自分の文書のドライブはこのままではマウントされません。{ $next }

# 閉じ込めて動かす
run-no-namespaces = この利用者は、カーネルの制限でプログラムを閉じ込められません: { $detail }
run-no-namespaces-next = ユーザー名前空間を許可するか（管理者で sysctl -w user.max_user_namespaces=10000。Ubuntu ではさらに kernel.apparmor_restrict_unprivileged_userns=0）、管理者として実行してください。できないときはドライブをマウントして使えますが、プログラムは自分のファイルをディスクに残します。
run-no-landlock = このカーネルには Landlock がないため、プログラムがディスクに書けてしまいます。
run-no-landlock-next = Linux 5.13 以降を、lsm= に landlock を含めて使ってください（確認: cat /sys/kernel/security/lsm）。できないときはドライブをマウントして使えますが、プログラムは自分のファイルをディスクに残します。
run-failed = プログラムを閉じ込められません: { $detail }
run-failed-next = ドライブをマウントして使えますが、プログラムは自分のファイルをディスクに残します。
run-not-found = プログラム { $program } がありません。
run-not-found-next = 導入するか、パスを付けて指定してください。
run-not-started = { $program } を起動できません: { $detail }
run-not-started-next = この利用者が実行できるプログラムを指定してください。
run-still = 注意: プログラムが始めた処理の終わりを待っています。Ctrl-C ですぐに終わります。保存したものは残ります。

# 単独の割符
split-not-a-file = { $path } は通常のファイルではありません。
split-not-a-file-next = ファイルを 1 つずつ分けるか、フォルダは先に 1 つのファイルにまとめてください（tar、zip）。
split-changed = { $path } が読み取り中に変わりました。割符は残していません。
split-done = この { $n } 個のうち、どの { $k } 個からでも元のファイルに戻せます。それより少なければ何もわかりません。別々の場所に保管してください。
combine-done = { $path } に戻しました。
combine-no-share = 割符ではありません: { $detail }
combine-foreign = 先頭が壊れているか、別の組の割符です
combine-share-damaged = 破損しています
combine-damaged-next = 結果は正しいものです（すべての部分を確かめています）。余裕が減っているので、割符を作り直してください。
combine-too-few = 同じ組の正常な割符が { $needed } 個必要ですが、{ $got } 個しかありません。
combine-too-few-next = 割符ファイルを追加してください。
combine-no-fit = これらの割符は同じ組のものではありません。
combine-scheme = { $path } は split で作った割符ではありません。方式 { $scheme } の割符で、保管庫のサーバに置かれる形のものです（split の割符は方式 1）。
combine-scheme-next = split で作ったファイルだけを指定してください。保管庫のサーバにある内容は次のコマンドで取り出せます: { $warifu } get 保管庫 パス .
combine-bad = 割符を合わせられません: { $detail }
combine-bad-next = 1 つのファイルを一度に分けた割符だけを指定してください。
combine-no-name = 元のファイル名はここでは使えません。
combine-no-name-next = -o で書き出すファイルを指定してください。

# 体験
tour-made = { $dir } に、3 台のサーバを使う保管庫を用意しました。どの 2 台からでもすべて読め、1 台だけでは何もわかりません。
tour-exists = { $dir } の保管庫はすでにあります。
tour-mounted = ドライブを { $dir } にマウントしました。
tour-mounted-already = ドライブはすでに { $dir } にマウントされています。
tour-no-drive = ドライブがないので、以下では put・get・cat を使います。
tour-taken = { $dir } は空ではなく、体験用のフォルダでもありません。
tour-taken-next = 新しいフォルダを指定してください: { $warifu } quickstart フォルダ
tour-open = 1. 文書を読みます。
tour-look = 2. サーバに何があるか見ます。文書にはこの語がありますが、どのサーバにもありません。
tour-away = 3. サーバを 1 台外して、そのまま読みます。
tour-back = 4. サーバを戻し、すべての割符を検査します。
tour-end = 5. ドライブを外します。
tour-remove = すべて消すには:

# ネットワーク上の割符サーバ
server-option-form = サーバの設定は 名前.項目=値 の形で書きます。
server-option-unknown = 指定されたサーバの中に「{ $server }」という名前のものはありません。
server-option-bad = { $server }: { $detail }
server-option-next = 例: honcho=sftp://ユーザ@ホスト/パス と名付けたサーバには -o honcho.key=file:honcho.key のように書きます。詳しくは { $warifu } init --help
host-key-unknown = { $server }: サーバのホスト鍵がまだ登録されていません: { $algorithm } { $fingerprint }
host-key-unknown-next = 指紋がサーバの管理者の言うものと同じか確かめてください。同じなら -o { $server }.host_key={ $fingerprint } を付けるか、上の行を { $file } に加えてください。
host-key-changed = { $server }: サーバのホスト鍵が登録されたものと違います: { $expected } ではなく { $fingerprint } です。誰かが間に入っているおそれがあります。
host-key-changed-next = サーバの管理者が新しい鍵を確認するまで使わないでください。確認できたら、古い鍵を新しい鍵に置き換えてください。
host-key-revoked = { $server }: 無効とされたホスト鍵です: { $fingerprint }（{ $place }）
certificate-untrusted = { $server }: サーバの証明書を信頼できません: { $detail }
certificate-untrusted-next = サーバ側に独自の認証局がある場合は、その証明書を -o { $server }.ca=ファイル.pem で指定してください。
login-refused = { $server }: サーバが { $user } のログインを拒みました（{ $detail }）。
login-refused-next = ユーザ名と、鍵（.pub の内容をサーバの ~/.ssh/authorized_keys に登録します）またはパスワードを確認してください。
server-unreachable = { $server }: 応答がありません: { $detail }
server-unreachable-next = URL の名前とポート、サーバが動いていてここから届くことを確認してください。
credential-exposed-next = 次のコマンドでほかの人から読めないようにしてください: chmod 600 { $path }
server-unfit = { $server }: この場所には割符を預けられません: { $why }
server-unfit-next = 別のフォルダかサーバを使ってください。
server-test-fit = { $server }（{ $url }）: 割符サーバに使えます。
server-test-unfit = { $server }（{ $url }）: 割符サーバには使えません。
server-test-same = 注意: { $servers } と同じ場所です。1 つの保管庫で同じ場所を二度使うことはできません。
server-test-in-use = すでにどこかの保管庫の割符サーバです。
server-test-speed = 応答 { $trip }、64 KiB の書き込み（ディスクまで）{ $put }、読み出し { $get }。
server-test-free = 空き容量: { $free }
server-test-no-space = 空き容量を答えません。満杯になると、そのサーバへの保存は後回し（未払い）になります。
server-test-not-atomic = 注意: 書き込み途中のオブジェクトの半分が見えることがあります。読むときに検査し、修復で直ります。
server-test-not-durable = データがいつディスクに載ったかを答えません。そこで停電すると、このサーバだけ直前数分の分が失われることがあります。
server-test-no-times = いつ書かれたかを答えません。途中で終わった保存の残りは、そこでは片付けられません。
server-test-clock = 注意: この計算機と時計が { $seconds } 秒ずれています。両方を時刻サーバに合わせてください。
unfit-replaces = 同じ名前に 2 度書くと、先のものが置き換えられてしまいます。
unfit-loses = 書いたものが、書いたとおりに読み出せません。
unfit-lists-too-little = 書いたばかりのものが一覧に出てきません。
unfit-wrong-parts = 一部分だけを正しく読み出せません。
unfit-keeps = 消したものが残っています。
unfit-never-absent = ないものを「ない」と答えません。

# 目録の再構築
rebuild-done = { $catalog } を作り直しました: ファイル { $files }、フォルダ { $folders }、版 { $versions }。
rebuild-vault-file = 新しい保管庫ファイルは { $path } です。新しいファイルの分散方式は { $scheme } です（保管庫ファイルで変えられます）。
rebuild-up-to = { $time } までのすべてが入っています。
rebuild-no-journal = 変更記録が見つかりません。名前は各ファイルの最後の保存時のものです。その後の移動と削除、空のフォルダ、リンクは入っていません。
rebuild-gaps = 変更記録が { $count } 区画欠けています。その間の名前の変更は、元に戻っているか失われているかもしれません。
rebuild-unfinished = 変更記録の最後の区画は、これらのサーバだけでは割符が足りず読めません。直前の変更が抜けているかもしれません。サーバを増やせば読めることがあります。
rebuild-audit-missing = 監査記録が { $count } 行欠けています。
rebuild-adopted = 最後に保存された版を置きました: { $file }（版 { $version }、{ $time }）
rebuild-adopted-file = 最後に保存されたものを新しいファイルとして置きました: { $file }（{ $time }）
rebuild-adopted-copy = 最後に保存されたものを写しとして残しました: { $file }（{ $time }）
rebuild-moved = フォルダが失われたので、ここに置きました: { $file }
rebuild-missing = { $server } がありません。保管庫ファイルには、代わりのサーバのための場所を残してあります。
rebuild-owed = サーバに { $count } 個の割符がありません。確認: { $warifu } status { $vault }
rebuild-other = 古い目録が戻されて使われていました。最後に書かれたほうを採りました。変更記録の { $first } から { $last }（{ $time } まで）は別の経過で、その保存 { $saves } 件は置きましたが、移動と削除は入っていません。
rebuild-unread = 直前の保存 { $count } 件は、これらのサーバだけでは割符が足りません。完了しなかったか、残りがほかのサーバにあります。
rebuild-unreadable = { $server } の { $count } 個が読めませんでした。最初のもの: { $fault }
rebuild-accepted = 承認しました。保管庫は再び変更できます。マウント中のドライブは、マウントし直してください。
rebuild-nothing-to-accept = 決めることはありませんでした。保管庫は変更できます。
undecided = 目録は欠けたまま作り直されました。作り直せば見つかるものがあるかもしれません。どうするか決めるまで、保管庫は読むことだけができます。
undecided-next = ないサーバを復旧し、{ $catalog } を別の場所へ移してから { $warifu } rebuild { $vault } をもう一度実行してください。欠けたまま続けるには: { $warifu } rebuild { $vault } --accept
the-catalogue = 目録
rebuild-next = すべての割符を検査してください: { $warifu } verify { $vault }
rebuild-server-lost = 途中でサーバが応答しなくなりました。何も作っていません。
rebuild-server-lost-next = 復旧してからやり直すか、ほかのサーバが足りていれば、そのサーバを除いてやり直してください。

refresh-plan = すべての割符を新しい世代にします: { $extents } 区画、{ $size } を { $n } 台のサーバに送ります。その間もファイルは使えます。
refresh-resumes = { $time } に始めた更新がまだ終わっていません。続きを行います。
refresh-promise = 終わると、古い割符と新しい割符は組み合わせられません。{ $k } 台未満のサーバの割符を盗んだ者には何も残りません。
refresh-no-use = しきい値が 1 なので、各サーバが単独ですべてを持ちます。更新しても無価値になるものはありません。
refresh-joined = このうち { $extents } 区画は方式 compact です。メモリの中で一度合わせてから分け直します。
refresh-absent = 応答しないサーバの古い割符は、復帰するまで残ります。新しい割符は後で届けられます。
refresh-too-few = 応答するサーバが足りません。新しい世代は、読み出しに必要な数より多くのサーバに届く必要があります。
refresh-apply-next = この計画を実行するには: { $warifu } refresh { $vault } --yes
refresh-done = { $extents } 区画の割符を新しくしました（{ $size } を送信）。
refresh-complete = 古い世代の割符は、どのサーバにも残っていません。
refresh-unreadable = { $extents } 区画は正常な割符が足りず、そのままです。次で確かめてください: { $warifu } verify { $vault }
refresh-left-next = すべてのサーバが応答したら、もう一度実行してください: { $warifu } refresh { $vault } --yes
refresh-not-due = 更新の時期ではありません（{ $days } 日ごと）。
refresh-no-schedule = 保管庫ファイルに更新の予定がありません
refresh-no-schedule-next = 保管庫ファイルの [threshold] より上に、refresh = "every 7 days" のような行を書いてください
generation-first = 割符: 世代 { $number }、更新したことはありません。
generation-unknown = 割符: 世代 { $number }。最後の更新がいつだったかは、もう分かりません。
generation-since = 割符: 世代 { $number }（{ $time } から）。
generation-under-way = 割符: { $time } に始めた世代 { $number } への更新が終わっていません。残り { $left } 区画。
generation-as-before = { $left } 区画が、古い保管庫ファイルによって、変更前のしきい値か古い世代で保存されています。
left-as-before-next = すべての計算機に今の保管庫ファイルを配り、マウントし直してから実行してください: { $warifu } { $command } { $vault } --yes
left-unreadable-next = 正常な割符が足りない版を復元するか廃棄してから（{ $warifu } verify { $vault } で確かめられます）、もう一度実行してください: { $warifu } { $command } { $vault } --yes
left-leased-next = だれかが保存中か、中断された処理の残りが期限切れを待っています。10 分ほどしてから、もう一度実行してください: { $warifu } { $command } { $vault } --yes
generation-holds = { "  " }{ $server }: 古い世代のものが { $objects } 個あります
generation-may-hold = { "  " }{ $server }: 古い世代のものが { $objects } 個あるかもしれません
generation-no-window = 侵入者が { $k } 台分のデータを集める期間に制限がありません。保管庫ファイルに refresh = "every 7 days" の行を書くと制限されます。
generation-window-open = 更新が終わるまで、侵入者が { $k } 台分のデータを集める期間に制限がありません。
generation-window = 何かを読むには、侵入者は { $days } 日と更新にかかる時間のうちに { $k } 台のサーバを手に入れなければなりません。

# 診断
doctor-versions = warifu { $version }、Linux { $kernel }
doctor-good = 正常
doctor-care = 要確認
doctor-bad = 異常
doctor-unknown = 不明
doctor-drive = この利用者はドライブをマウントできます。
doctor-swap = 暗号化されていないスワップはありません。
doctor-memory = メモリを固定できます。
doctor-clock = 時計は時刻サーバに合わせてあります。
doctor-clock-alone = 時計が時刻サーバに合っていません。監査記録の時刻がずれるおそれがあります。
doctor-clock-next = 次のコマンドで有効にしてください: timedatectl set-ntp true
doctor-clock-unknown = 時計が時刻サーバに合わせてあるかどうかは、ここではわかりません。
doctor-vault-file = { $path } を変更できるのは所有者だけです。
doctor-vault-file-open = { $path } を所有者以外も変更できます。その人は、ファイルを別のサーバへ送らせることができます。
doctor-vault-file-open-next = 権限を外してください: chmod go-w { $vault }
doctor-catalogue = { $dir } の目録には { $free } の空きがあります。
doctor-catalogue-network = 目録が { $dir } にありますが、ここはネットワーク上のファイルシステム（{ $kind }）です。2 台の計算機から使うと SQLite が壊れるおそれがあります。
doctor-catalogue-network-next = ドライブを外してから、保管庫ファイルとその隣の目録を手元のディスクへ移してください。
doctor-catalogue-room = { $dir } の目録の空きは { $free } しかありません。なくなると保存できなくなります。
doctor-catalogue-room-next = そのディスクに空きを作ってください。
doctor-servers = 割符サーバ { $n } 台すべてが応答し、割符もそろっています。読むには { $k } 台が必要です。
doctor-vault-needs-care = 保管庫:

# mount(8) からの呼び出し
fstab-places = mount.fuse.warifu には保管庫ファイルとフォルダが必要です。
fstab-option = マウントの指定 { $option } はありません。
fstab-next = /etc/fstab には次のように書いてください: /etc/warifu/office.toml /srv/office fuse.warifu allow_other,_netdev,nofail 0 0（指定できるもの: ro, allow_other, allow_swap, memory_limit=MiB, lang=ja）

# 説明書
manpages-written = { $pages } ページの説明書を { $dir } に書きました。
man-name = 名前
man-synopsis = 書式
man-description = 説明
man-options = オプション
man-commands = コマンド
man-version = 版
man-examples = 例
man-exit-status = 終了コード

threshold-now = しきい値は { $n } 台のうち { $k } 台です。{ $meaning }
threshold-presets = 次のようにも変えられます:
threshold-preset = { "  " }{ $name }: { $n } 台のうち { $k } 台。{ $meaning }
threshold-choose-next = 変更の計画を見るには: { $warifu } threshold { $vault } -k K -n N --server 新しいサーバ …
threshold-meaning = { $stolen }{ $away }
threshold-stolen = { $servers ->
    [0] 1 台盗まれると、すべて読まれます。
   *[other] { $servers } 台盗まれても、何も漏れません。
}
threshold-away = { $servers ->
    [0] 1 台止まると、仕事も止まります。
   *[other] { $servers } 台止まっても、仕事は続きます。
}
threshold-resumes = 始めた変更がまだ終わっていません。続きを行います。
threshold-plan = { $n } 台のうち { $k } 台から、{ $to_n } 台のうち { $to_k } 台へ。その間もファイルは使えます。
threshold-added = { "  " }{ $index }. { $server }  { $url }（新しいサーバ）
threshold-removed = { "  " }{ $server } は外れます。持っているものを削除してから、席をなくします。
threshold-work = 分け直すもの: { $files } ファイル（すべての版を含む）、{ $extents } 区画。{ $size } を { $n } 台のサーバに送ります。
threshold-time = 今の読み出しの速さからみて、少なくとも約 { $time } かかります。
threshold-time-unknown = かかる時間は分かりません。
about-seconds = { $number } 秒
about-minutes = { $number } 分
about-hours = { $number } 時間
threshold-joined = このうち { $extents } 区画は、メモリの中で一度合わせてから分け直します。
threshold-before = 変更前: { $meaning }
threshold-during-more = 変更中: 変更前と同じです。古い割符が最後の 1 つまでどのサーバからもなくなって初めて、読むのに { $to_k } 台が必要になります。それまでは、残っているものは { $k } 台で読めます。古い割符を削除できないサーバは名前を示します。
threshold-during-fewer = 変更中: 分け直したファイルから順に、{ $to_k } 台で読めるようになります。まだ分け直していないものは変更前のままです。
threshold-during-same = 変更中: 読むのに必要なのは、前も後も { $k } 台です。まだ分け直していないものは、変更前と同じ台数まで失えます。
threshold-during-away = { $servers ->
    [0] 終わるまで、すべてを読むにはどのサーバも欠かせません。
   *[other] 終わるまで、停止しても失ってもすべてを読めるのは { $servers } 台までです。
}
threshold-after = 変更後: { $meaning }
threshold-copied = 終わる前に { $k } 台分を写し取った者は、それを読み続けられます。
threshold-absent = 応答しないサーバの古いものは、復帰するまで残ります。それまで変更は終わりません。
threshold-apply-next = 実行するには、同じコマンドに --yes を付けてください
threshold-done = すべてについて、しきい値は { $n } 台のうち { $k } 台になりました。変更前のものは、どのサーバにも残っていません。
threshold-left-next = すべてのサーバが応答したら、もう一度実行してください: { $warifu } threshold { $vault } --yes
threshold-under-way = しきい値を { $n } 台のうち { $k } 台に変更中で、まだそうなっていません。残り { $left } 区画。
threshold-unsaid = 新しいサーバが指定されましたが、しきい値が指定されていません
threshold-unsaid-next = -k K -n N か --preset 名前 で指定してください。1 台増やすだけなら: { $warifu } server add { $vault } URL
no-preset = 「{ $name }」という組み合わせはありません
no-preset-next = 次のどれかを指定するか（{ $known }）、-k K -n N で指定してください
same-place = { $server } は { $other } と同じ場所です。1 つのディスクに 2 つの名前が付いています
new-servers = 新しいサーバは { $needed } 台必要ですが、{ $got } 台指定されました
new-servers-next = 増える分だけを --server URL で 1 台ずつ指定してください。
same-threshold = しきい値はすでに { $n } 台のうち { $k } 台です
same-threshold-next = ほかに何にできるかを見るには: { $warifu } threshold { $vault }
threshold-busy = しきい値を { $n } 台のうち { $k } 台に変更中で、まだ終わっていません
other-threshold = 保管庫ファイルには { $n } 台のうち { $k } 台、目録には { $other_n } 台のうち { $other_k } 台とあります。どちらかが変更前のものです
other-threshold-next = 保管庫ファイルが古い複製なら、変更した人から新しいものを受け取ってください。目録をバックアップから戻したのなら、保管庫ファイルのとおりにもう一度指定してください: { $warifu } threshold { $vault } -k K -n N --yes
