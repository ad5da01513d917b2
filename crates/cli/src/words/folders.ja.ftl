# フォルダごとのしきい値
folder-asks = { "  " }{ $path } とその下すべて: { $n } 台のうち { $k } 台
folder-asks-in-vain = { "  " }{ $path } とその下すべて: { $n } 台のうち { $k } 台の指定に対し、実際は { $to_n } 台のうち { $to_k } 台
folder-removed = （削除されたフォルダ）
folder-now = { $path }: ここに保存するものを読むには { $n } 台のうち { $k } 台が必要です。{ $meaning }
folder-inherits = このフォルダ自身の指定はありません。上のフォルダ、最後は保管庫のしきい値に従います。
folder-choose-next = 変更の内容を見るには: { $warifu } threshold { $vault } --folder { $path } -k K -n N
folder-is-root = ドライブ全体のしきい値は保管庫のしきい値です
folder-is-root-next = 変えるには: { $warifu } threshold { $vault } -k K -n N
folder-impossible = { $vault_n } 台のうち { $vault_k } 台の保管庫で、フォルダだけを { $n } 台のうち { $k } 台にはできません
folder-impossible-next = 必要な台数は保管庫と同じかそれ以上、サーバの台数は保管庫にあるだけにしてください。
folder-same = { $path } はすでに { $n } 台のうち { $k } 台で、すべてそのとおりになっています
folder-same-next = 指定のあるフォルダを見るには: { $warifu } threshold { $vault }
folder-needs-more = { $path } は { $needed } 台を必要としますが、サーバは { $n } 台になります
folder-needs-more-next = 先にフォルダの指定を下げてください: { $warifu } threshold { $vault } --folder PATH -k K -n N --yes（または --inherit）
folder-plan = { $path } とその下すべてを、{ $n } 台のうち { $k } 台から { $to_n } 台のうち { $to_k } 台にします。その間もファイルは使えます。
folder-work = 分け直すもの: { $extents } 区画（すべての版を含む）。{ $size } を送ります。
folder-during-more = その間: これから保存するものは { $to_k } 台が必要です。すでにあるものは、分け直して古い割符がすべてのサーバから消えるまで { $k } 台で読めます。
folder-during-fewer = その間: 保存したものと分け直したものは { $to_k } 台で読めます。残りはこれまでどおりです。
folder-names = ファイル名の秘密は保管庫のしきい値のままです。ファイルは今あるフォルダに従います。移動したものは、次の保存か更新（refresh）で分け直します。
folder-done = { $path } は今、中のものすべてについて { $n } 台のうち { $k } 台です。前の割符はどのサーバにも残っていません。
folders-work = { $extents ->
    [0] すべてフォルダの指定どおりです。
   *[other] { $extents } 区画がフォルダの指定どおりになっていません。
}
folders-done = すべてフォルダの指定どおりです。前の割符はどのサーバにも残っていません。
folders-next = フォルダの指定どおりに分け直すには: { $warifu } threshold { $vault } --folders --yes
generation-unlike = { $extents } 区画がフォルダの指定どおりになっていません。前からあったか、移動されたファイルです。
