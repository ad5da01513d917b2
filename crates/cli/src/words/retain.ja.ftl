
# 保存期間と廃棄
prune-no-rules = 保管庫ファイルに保存期間の定めがないので、すべてを残します。
prune-no-rules-next = 古い版を廃棄するには、保管庫ファイルに [retention] を書いてください（例: keep = "90 days"）。
prune-nothing = 廃棄するものはありません。
prune-plan = 完全に廃棄するもの: { $versions } 個の版（内容 { $size }）と過去の名前 { $names } 個
prune-version = { $path }: { $time } の版 { $version }（{ $size }）
prune-more = … ほか { $more } 件。--json で全部を表示します。
prune-held = { $files } 個のファイルは保全中なので、すべて残します。
prune-in-use = { $files } 個のファイルは開かれているので、そのままにします。
prune-yes-next = 廃棄するには、同じコマンドに --yes を付けてください。元には戻せません。
prune-done = 廃棄しました: { $versions } 個の版と { $names } 個の名前。
prune-server = { $server }: { $gone } 個が消えました
prune-server-left = { $server }: { $gone } 個が消えました。{ $left } 個は未確認です（{ $detail }）
prune-left-next = 上のサーバには、消せなかったものが残っています。保管庫を使うあいだ、答えるまで繰り返し消去を求めます。それまでディスクを安全に保ってください。
destroyed-genuine = 本物です: { $time } に { $person }@{ $host } が { $versions } 個の版を廃棄しました。
destroyed-incomplete = その時点で確認の取れていないサーバがあります。証明書に名前があります。
destroyed-false = { $path } はこの保管庫の証明書ではないか、書き換えられています。
destroyed-false-next = 証明書を出した保管庫の保管庫ファイルで検査してください。
trash-line = { $path }  { $time } に削除  { $size }
trash-empty = ごみ箱は空です。
trash-not-found = { $subject } に当たるものはごみ箱にありません。
trash-not-found-next = 一覧を確認してください: { $warifu } trash list { $vault }
trash-restored = { $files } 個のファイルを戻しました。
hold-set = { $subject } を保全しました。どの規則でもどのコマンドでも廃棄されません。
hold-cleared = { $subject } の保全を解きました。
hold-exists = { $subject } はすでに保全中です。
hold-exists-next = 一覧を確認してください: { $warifu } hold list { $vault }
hold-missing = { $subject } は保全されていません。
hold-missing-next = 一覧を確認してください: { $warifu } hold list { $vault }
hold-line = { $path }  { $time } から  { $person }  { $reason }
hold-none = 保全中のものはありません。

# 容量
df-server = { $server }: { $size }（{ $objects } 個）
df-folders = フォルダごと（全サーバの合計）:
df-folder = { $folder }: 現在の版 { $current }、過去の版 { $older }、削除されたファイル { $removed }
df-ages = 過去の版と削除されたファイルの古さ:
df-age = 保存から { $days } 日未満: { $size }
df-age-rest = それより古いもの: { $size }
df-journal = 目録の変更記録: { $size }
df-other = 名前を持ったことのないもの: { $size }
df-compact = 方式 shamir の分: { $shamir }。compact なら { $compact } で、{ $saved } 少なくなります。ただし k 台未満から何もわからないという約束は、暗号が破られないかぎり、という条件付きになります。
