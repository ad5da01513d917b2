
# 保存期間と廃棄
retention-rules = 保管庫ファイルの定め（フォルダは、最も深いものだけが適用されます）:
retention-next = 今すぐ廃棄するには: { $warifu } prune { $vault }。マウント中のドライブは、1 日に 1 回、自動で廃棄します。
version-destroyed = { $subject }: その時点の内容は、保存期間の規則または人の操作によって廃棄されています。
clock-ahead = この計算機の時計は { $now } ですが、保管庫が知っている最も新しい時刻は { $known } です。時計が進んでいると、すべてが古いことになってしまいます。
clock-ahead-next = 時計を合わせてください。長く使っていなかっただけで時計が正しいのなら、--trust-clock を付けてください。
holds-changed = 計画のあとに、保全が追加または解除されました。それより前に廃棄したものは廃棄済みです。
holds-changed-next = コマンドをもう一度実行してください。新しい計画を示します。
restore-left-destroyed = { $path }: その時点の内容は廃棄されています
certificate-genuine = 署名は正しく、書き換えられていません: 保管庫 { $vault_id } の { $versions } 個の版を、{ $time } に { $person }@{ $host } が廃棄しました。
certificate-incomplete = その時点で確認の取れていないサーバがあります。証明書に名前があります。
certificate-whose = 鍵 { $key } で署名されています。誰の鍵かは、証明書だけではわかりません。
certificate-whose-next = 保管庫の管理者に「warifu certificate key 保管庫ファイル」で鍵を表示してもらい、--key で指定してください。
certificate-false = { $path } は証明書でないか、書き換えられているか、別の保管庫が署名したものです。
certificate-false-next = 渡した人からファイルをもう一度受け取り、鍵を保管庫のものと比べてください。
certificate-bad-key = 公開鍵は 16 進数 64 桁です。
certificate-bad-key-next = 「warifu certificate key 保管庫ファイル」の出力をそのまま写してください。
certificate-no-key = 証明書に署名する鍵を作れませんでした。
certificate-no-key-next = --certificate を付けずに実行し、warifu の不具合として報告してください。
prune-no-rules = 保管庫ファイルに保存期間の定めがないので、すべてを残します。
prune-no-rules-next = 古い版を廃棄するには、保管庫ファイルに [retention] を書いてください（例: keep = "90 days"）。
prune-nothing = 廃棄するものはありません。
prune-plan = 完全に廃棄するもの: { $versions } 個の版（内容 { $size }）と過去の名前 { $names } 個
prune-version = { $path }: { $time } の版 { $version }（{ $size }）
prune-more = … ほか { $more } 件。--json で全部を表示します。
prune-held = { $files } 個のファイルは保全中なので、すべて残します。
prune-in-use = { $files } 個のファイルは（この計算機または他の計算機で）開かれているので、そのままにします。
prune-yes-next = 廃棄するには、同じコマンドに --yes を付けてください。元には戻せません。
prune-done = 廃棄しました: { $versions } 個の版と { $names } 個の名前。
prune-server = { $server }: { $gone } 個が消えました
prune-server-left = { $server }: { $gone } 個が消えました。{ $left } 個は未確認です（{ $detail }）
prune-left-next = 上のサーバには、消せなかったものが残っています。保管庫を使うあいだ、答えるまで繰り返し消去を求めます。それまでディスクを安全に保ってください。
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
