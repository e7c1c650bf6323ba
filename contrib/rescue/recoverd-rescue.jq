# What recoverd-rescue asks of trees. $want says what: `roots`, `trees`, `lists`, `parts`, `contents` (what is named by
# the record, by trees, or by block lists, on the input), or `plan`: a script of four commands: `e` writes the headers of
# an archive's member, `c` joins pieces, `z` writes zeros, `d` tells of damage. In it are only letters, digits and octal
# escapes, whatever a name holds.

# -- what makes a tree one, and an entry one that may be written: also a prepared one leads nowhere else
def is_hash: type == "string" and test("\\A[0-9a-f]{64}\\z");
def is_size: type == "string" and test("\\A(0|[1-9][0-9]{0,18})\\z");
def is_time: type == "string" and test("\\A(0|-?[1-9][0-9]{0,18})\\z");
def is_id: type == "number" and . >= 0 and . <= 4294967295 and . == floor;
def is_base64: type == "string" and test("\\A([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?\\z");
# the bytes of base64 text, as numbers
def bytes64:
    (rtrimstr("=") | rtrimstr("=") | length * 6 / 8 | floor) as $length
    | explode
    | map(if . >= 97 then . - 71 elif . >= 65 then . - 65 elif . == 61 then 0
          elif . >= 48 then . + 4 elif . == 43 then 62 else 63 end)
    | [range(0; length; 4) as $i | .[$i] * 262144 + .[$i + 1] * 4096 + .[$i + 2] * 64 + .[$i + 3]
       | (. / 65536 | floor), (. / 256 | floor) % 256, . % 256][:$length];
def is_text: type == "string" and (explode | index(0) | not);
def is_text_of($text; $base64):
    if .[$base64] == null then .[$text] | is_text and . != ""
    else .[$text] == null and (.[$base64] | is_base64 and . != "" and (bytes64 | index(0) | not)) end;
def key: .name64 // (.name | @base64);
def is_entry:
    type == "object" and is_text_of("name"; "name64")
    and (key | bytes64 | . != [46] and . != [46, 46] and (index(47) | not))
    and (.mode | type == "string" and test("\\A[0-7]{4}\\z")) and (.uid | is_id) and (.gid | is_id)
    and (.user | is_text) and (.group | is_text) and (.mtime_ns | is_time)
    and ((.xattrs // []) | type == "array" and all(.[]; is_text_of("name"; "name64") and (.value64 | is_base64)))
    and ((.hard_link // "") | is_text)
    and (if .type == "file" then
             (.size | is_size) and (if .blocks == null then .hash else .blocks end | is_hash)
         elif .type == "dir" then .hash | is_hash
         else .type == "symlink" and is_text_of("target"; "target64") end);
def valid:
    type == "object" and .tree == 1
    and if .parts != null then .parts | type == "array" and all(.[]; is_hash)
        else .entries | type == "array" and all(.[]; is_entry) and (map(key) | length == (unique | length)) end;

def octal: "\\" + ([(. / 64 | floor), (. / 8 | floor) % 8, . % 8] | map(tostring) | add);
def bytes_of: # UTF-8 of a code point
    if . < 128 then [.]
    elif . < 2048 then [192 + (. / 64 | floor), 128 + . % 64]
    elif . < 65536 then [224 + (. / 4096 | floor), 128 + (. / 64 | floor) % 64, 128 + . % 64]
    else [240 + (. / 262144 | floor), 128 + (. / 4096 | floor) % 64, 128 + (. / 64 | floor) % 64, 128 + . % 64] end;
def coded: # text: how printf is told of it, and its length in bytes
    {t: (if test("\\A[A-Za-z0-9_./,:+=@-]*\\z") then . else
             [explode[] | bytes_of[] | if (. >= 48 and . <= 57) or (. >= 65 and . <= 90) or (. >= 97 and . <= 122)
              then [.] | implode else octal end] | add end), n: utf8bytelength};
def coded64: bytes64 | {t: (map(octal) | add // ""), n: length};
def either($text; $base64): if .[$base64] != null then .[$base64] | coded64 else .[$text] | coded end;
def shown: if .name64 != null then .name64 | @base64d else .name end;

# -- the archive: pax records, and the checksums of its headers
def sum: explode | add;
def record($key; $value):
    ($key.n + $value.n + 3) as $rest
    | ($rest + ($rest | tostring | length)) as $length
    | ($rest + ($length | tostring | length)) as $length
    | {t: "\($length) \($key.t)=\($value.t)\\012", n: $length};
def record($key; $value; $unless): if $value.n == 0 and $unless then empty else record($key | coded; $value) end;
def digits($width): # octal
    [recurse(if . >= 8 then . / 8 | floor else empty end) % 8 | tostring] | reverse | add
    | ("0" * ($width - length) // "") + .;
def seconds:
    (if startswith("-") then ["-", .[1:]] else ["", .] end) as [$sign, $digits]
    | ("0" * ([10 - ($digits | length), 0] | max) // "") + $digits
    | $sign + .[:-9] + "." + .[-9:];
def padding: (512 - . % 512) % 512 | if . == 0 then "" else " p/\(.)" end;
def header($mode; $size; $type): # 2231: what is the same in all of them
    ($size | if . > 8589934591 then 0 else . end | digits(11)) as $size
    | "\($mode) \($size) \((2231 + ($mode + $size + $type | sum)) | digits(6)) \($type)";

# An entry as member of the archive. $pieces: its content; $size: their bytes; $map: of a sparse file.
def member($path; $type; $mode; $pieces; $size; $map; $more):
    [ (if $map == null then record("path"; $path; false) else
          record("GNU.sparse.major"; "1" | coded; false), record("GNU.sparse.minor"; "0" | coded; false),
          record("GNU.sparse.name"; $path; false), record("GNU.sparse.realsize"; .size | coded; false) end),
      record("mtime"; .mtime_ns | seconds | coded; false),
      record("uid"; .uid | tostring | coded; false), record("gid"; .gid | tostring | coded; false),
      record("uname"; .user | coded; true), record("gname"; .group | coded; true),
      $more[] ] as $records
    | ($map // [] | map("\(.)\n") | add // "") as $map
    | (if $map == "" then 0 else ($map | length / 512 | ceil) * 512 end) as $map_size
    | ($size + $map_size) as $size
    | ([$records[], record("size"; $size | tostring | coded; false)]) as $records
    | ($records | map(.n) | add) as $length
    | { headers: "\(header("0000644"; $length; "x")) \(header("000" + $mode; $size; $type)) '\($records | map(.t) | add)' '\($map | coded.t // "")'",
        first: ($length | padding), map: ($map | length | padding), pieces: $pieces,
        last: (($size - $map_size) | padding) };

def attribute: # as GNU tar spells it
    if .name != null then .name |= (gsub("%"; "%25") | gsub("="; "%3D")) else . end
    | either("name"; "name64") | {t: "SCHILY.xattr.\(.t)", n: (.n + 13)};

# -- what may be written
def names($file): $file | split("\n") | map(split(":") | select(length > 2) | {name: .[0], id: .[2]});
def mode($here): # setuid and setgid only for whom they were
    def same($name; $id; $known; $own):
        (if $name == "" then null else first($known[] | select(.name == $name) | .id) end // ($id | tostring)) as $wanted
        | if $ARGS.named.uid == "0" then (first($known[] | select(.id == $wanted) | .name) // "") == $name
          else $wanted == $own end;
    .mode as $mode | ($mode[:1] | tonumber) as $special
    | if $special < 2 then $mode else
        (if $special >= 4 and (same(.user; .uid; $here.users; $ARGS.named.uid) | not) then 4 else 0 end) as $setuid
        | (if $special % 4 >= 2 and .type == "file" and (same(.group; .gid; $here.groups; $ARGS.named.gid) | not)
           then 2 else 0 end) as $setgid
        | "\($special - $setuid - $setgid)\($mode[1:])"
      end;
# The blocks of a file, or of a piece of it, by a list: [hash, or null for a hole, and bytes]; a list that is missing, or
# is that of something else, by its hash alone.
def blocks($lists; $hash; $block_size; $size; $top):
    ($lists[$hash] | objects // {}) as $list
    | ($list.blocks == 2) as $of_parts
    | ($block_size | if $of_parts then until(. * 32 >= $size; . * 32) else . end) as $step
    | (if $of_parts then $list.parts else $list.list end) as $runs
    | if ($list.blocks != 1 and $of_parts == false) or $list.block_size != $block_size or $list.size != ($size | tostring)
         or ($runs | type != "array") or $of_parts != ($step > $block_size)
         or (all($runs[]; is_hash or (type == "number" and . >= 1 and . == floor)) | not)
         or ($runs | map(if type == "number" then . else 1 end) | add // 0) != ($size / $step | ceil)
         or ($top | not) and ($of_parts | not) and $size > $block_size * 32
      then [$hash] else
        foreach $runs[] as $run ({at: 0};
            .start = .at
            | .at = ([.at + $step * (if ($run | type) == "number" then $run else 1 end), $size] | min);
            (.at - .start) as $length
            | if ($run | type) == "number" then [null, $length]
              elif $of_parts then blocks($lists; $run; $block_size; $length; false)
              else [$run, $length] end)
      end;
def content($have; $lists): # {pieces, size, map} or {lost: [hashes]}
    (.size | tonumber) as $size
    | if .size | length > 15 then {lost: [.hash // .blocks]} # jq counts no further
      elif .blocks == null then
        if $have[.hash] == $size then {pieces: (if $size == 0 then [] else ["o/\(.hash)"] end), size: $size}
        else {lost: [.hash]} end
      else
        .blocks as $blocks | .block_size as $block_size
        | if $block_size | type != "number" or . < 1 or . != floor then {lost: [$blocks]} else
            [foreach blocks($lists; $blocks; $block_size; $size; true) as [$run, $length] ({at: 0};
                .start = .at | .at += ($length // 0) | .run = $run | .there = ($length != null))] as $runs
            | [$runs[] | select(.run != null) | select((.there | not) or $have[.run] != .at - .start) | .run] as $lost
            | if $lost != [] then {lost: $lost}
              elif all($runs[]; .run != null) then {pieces: [$runs[] | "o/\(.run)"], size: $size}
              elif $block_size % 512 != 0 then
                {pieces: [$runs[] | if .run != null then "o/\(.run)" else "z \(.at - .start)" end], size: $size}
              else
                (reduce ($runs[] | select(.run != null)) as $run ([];
                    if length > 0 and .[-1][1] == $run.start then .[-1][1] = $run.at else . + [[$run.start, $run.at]] end)
                 | if length == 0 or .[-1][1] < $size then . + [[$size, $size]] else . end) as $pieces
                | {pieces: [$runs[] | select(.run != null) | "o/\(.run)"],
                   size: ([$pieces[] | .[1] - .[0]] | add), map: [($pieces | length), ($pieces[] | .[0], .[1] - .[0])]}
              end
          end
      end;

# -- all that lies below a tree: entries with their paths, and what is lost
def entries($trees):
    $trees[.] as $tree
    | if . == $ARGS.named.empty then empty
      elif $tree == null then {lost: [.]}
      elif $tree.parts == null then $tree.entries[]
      else $tree.parts[] | . as $part | $trees[$part]
           | if .entries == null then {lost: [$part]} else .entries[] end end;
def below($trees; $path; $place):
    entries($trees)
    | if .lost != null then {lost, place: "\($place)/ (files of this directory)"} else
        ($path | {t: "\(.t)/", n: (.n + 1)}) as $above | either("name"; "name64") as $name
        | {t: ($above.t + $name.t), n: ($above.n + $name.n)} as $path | "\($place)/\(shown)" as $place
        | {entry: ., path: $path, place: $place},
          (if .type == "dir" then .hash | below($trees; $path; $place) else empty end)
      end;

def told($lost): # no name moves a terminal
    "\(.place): \($lost | unique | join(", "))" | @json | explode
    | map(if . >= 127 and . < 160 then 63 else . end) | implode | "d '\(coded.t)'";

def objects($names; $documents): [$names | split("\n") | map(select(. != "")), $documents] | transpose
    | map({key: .[0], value: .[1]}) | from_entries;

def wanted: # of the items of a record
    ($ARGS.named.only == "" or .key == $ARGS.named.only) and .value[$ARGS.named.which] != null
    and ($ARGS.named.which == "good" or .value.root != .value.good);

def plan:
    ($ARGS.named.have | split("\n") | map(select(. != "") | split(" ") | {key: .[0], value: (.[1] | tonumber)})
     | from_entries) as $have
    | (objects($ARGS.named.tree_names; $ARGS.named.tree_list) | map_values(select(valid))) as $trees
    | objects($ARGS.named.list_names; $ARGS.named.block_lists) as $lists
    | {users: names($ARGS.named.passwd), groups: names($ARGS.named.group)} as $here
    | foreach ((.items | to_entries[] | select(wanted) | .key as $item | .value[$ARGS.named.which]
                | below($trees; "\($ARGS.named.service)/\($item)" | coded; $item) | .item = $item), null) as $one
        ({count: 0, line: "c", links: {}};
         .out = null
         | if $one == null then .out = [.line]
           elif $one.lost != null then .out = [$one | told(.lost)]
           else
             ($one.entry
              | {type, link: ([$one.item, .hard_link, .hash, .blocks, .target, .target64] | tojson)}) as $kind
             | if $one.entry.hard_link != null and .links[$kind.link] != null then
                 .member = (.links[$kind.link] as $first | $one.entry
                            | member($one.path; "1"; "0644"; []; 0; null; [record("linkpath"; $first; false)]))
               else
                 [$one.entry.xattrs[]? | record(attribute; .value64 | coded64)] as $xattrs
                 | ($one.entry
                    | if $kind.type == "file" then
                        content($have; $lists) as $content
                        | if $content.lost != null then $content
                          else member($one.path; "0"; mode($here); $content.pieces; $content.size; $content.map; $xattrs) end
                      elif $kind.type == "dir" then member($one.path; "5"; mode($here); []; 0; null; $xattrs)
                      else [$xattrs[], record("linkpath"; either("target"; "target64"); false)] as $more
                           | member($one.path; "2"; "0777"; []; 0; null; $more)
                      end) as $member
                 | .member = $member
                 | if $one.entry.hard_link != null and $member.lost == null then .links[$kind.link] = $one.path else . end
               end
             | if .member.lost != null then
                 .out = [.member.lost as $lost | $one | told($lost)]
               else
                 .count += 1
                 | .count as $n | .member as $m
                 | .out = ["e \($n) \($m.headers)"]
                 | .line += " h/\($n)\($m.first) g/\($n)\($m.map)"
                 | reduce $m.pieces[] as $piece (.;
                     if $piece | startswith("z ") then .out += [.line, $piece] | .line = "c" else .line += " \($piece)" end
                     | if .line | length > 60000 then .out += [.line] | .line = "c" else . end)
                 | .line += $m.last
                 | if .count == 200 then .out += [.line] | .line = "c" | .count = 0 else . end
               end
           end;
         .out // empty | .[]);

if $want == "trees" then inputs | select(valid) | .parts[]?, (.entries[]? | select(.type == "dir") | .hash)
elif $want == "roots" then inputs | .items | to_entries[] | select(wanted) | .value[$ARGS.named.which]
elif $want == "lists" then inputs | select(valid) | .entries[]? | .blocks // empty
elif $want == "parts" then inputs | select(type == "object" and .blocks == 2) | .parts[]? | select(is_hash)
elif $want == "contents" then
    inputs | (select(valid) | .entries[]? | select(.type == "file") | .hash // empty),
             (select(type == "object" and .blocks == 1) | .list[]? | strings)
else inputs | plan end
