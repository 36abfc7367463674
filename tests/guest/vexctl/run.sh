#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The tools on a mounted filesystem. post.sh compares all answers with those the same disk gives without the module.

# status NAME WANTED COMMAND...: runs a command; its exit status and, in /tmp/out, its output are looked at.
status() {
	name=$1 wanted=$2
	shift 2
	"$@" >/tmp/out 2>/tmp/err
	got=$?
	if [ $got = "$wanted" ]; then
		echo "ok $name"
	else
		echo "not ok $name: status $got, wanted $wanted: $(head -n 3 /tmp/err)"
	fi
}

# says NAME TEXT: the last command's output or complaint contains a text.
says() {
	if grep -qF -e "$2" /tmp/out /tmp/err; then
		echo "ok $1"
	else
		echo "not ok $1: $(cat /tmp/out /tmp/err | head -n 3)"
	fi
}

rows=/mnt/packages

status "mkfs formats an empty disk" 0 mkfs.vexfs -L tools /dev/vdb
says "mkfs prints the layout" "group table"
status "mkfs leaves a formatted disk alone" 1 mkfs.vexfs /dev/vdb
says "mkfs names what it found" "holds VexFS"
status "mkfs -n formats nothing" 0 mkfs.vexfs -n /dev/vdc
status "what -n did not format is not mounted" 255 mount -t vexfs /dev/vdc /mnt
status "the disk is mounted" 0 mount -t vexfs /dev/vdb /mnt
status "mkfs -f refuses a mounted disk" 1 mkfs.vexfs -f /dev/vdb
says "mkfs says where it is mounted" "mounted on /mnt"
status "an image command refuses a mounted disk" 1 vexctl --image /dev/vdb status

status "status finds the mount by itself" 0 vexctl --json status
says "status tells the label" '"label":"tools"'
status "a collection is created" 0 vexctl collection create $rows -d 384 -m cosine
status "a collection is created once" 1 vexctl collection create $rows -d 384 -m cosine
says "the errno is named" EEXIST
status "the sample is inserted" 0 vexctl --json insert $rows data/debian384_base.fvecs -m data/debian384_base.jsonl --first-id 0 --batch 300
says "every row is counted" '"inserted":2000'
status "40 queries are answered" 0 vexctl --json search $rows data/debian384_query.fvecs -k 10 --vectors
cp /tmp/out "$OUT/search.json"
status "a radius limits an answer" 0 vexctl --json search $rows data/debian384_query.fvecs -k 100 --radius 0.4
cp /tmp/out "$OUT/radius.json"
status "rows are read by id" 0 vexctl --json get $rows 0 1999 1000 --vectors
cp /tmp/out "$OUT/get.json"
filter='{"section": ["mail", "net", "comm"], "size": {"gte": 10000}}'
status "a filter is obeyed" 0 vexctl --json search $rows data/debian384_query.fvecs -k 10 --filter "$filter"
cp /tmp/out "$OUT/filter.json"
status "an index is built" 0 vexctl --json index build $rows hnsw --m 4 --ef-construction 16 --seed 3
says "every row is indexed" '"indexed_rows":2000'
status "the index is described" 0 vexctl index info $rows
says "with its parameters" "hnsw m=4 ef-construction=16 seed=3"
status "an index is searched" 0 vexctl --json search $rows data/debian384_query.fvecs -k 10 --ef 100
cp /tmp/out "$OUT/index.json"
status "an index is searched with a filter" 0 vexctl --json search $rows data/debian384_query.fvecs -k 10 --ef 100 --filter "$filter"
cp /tmp/out "$OUT/both.json"
status "exact is exact, index or not" 0 vexctl --json search $rows data/debian384_query.fvecs -k 10 --exact
cp /tmp/out "$OUT/exact.json"
status "a search is explained" 0 vexctl explain $rows data/debian384_query.fvecs --rows 1 --ef 20
says "by its segment" "hnsw"
status "recall and speed are measured" 0 vexctl --json bench $rows data/debian384_query.fvecs --rows 10 --ef 20,100 --rounds 1
says "at every setting" '"setting":"ef 100"'
status "a filter that makes no sense is status 2" 2 vexctl search $rows --id 1 --filter '{"size": {"near": 1}}'
status "a collection of bytes is created" 0 vexctl collection create /mnt/bytes -d 4 -m l2 -e u8 -i hnsw
status "bytes are inserted" 0 vexctl insert /mnt/bytes --vector 1,2,3,255 --vector 0,0,0,0
status "bytes are found" 0 vexctl --json search /mnt/bytes --vector 1,2,3,250 -k 1 --vectors
says "as they are" '"vector":[1.0,2.0,3.0,255.0]'
status "what bytes cannot hold is refused" 1 vexctl insert /mnt/bytes --vector 1,2,3,256
status "the collection is optimized" 0 vexctl optimize /mnt/bytes
status "the collection of bytes is dropped" 0 vexctl collection drop /mnt/bytes
status "a row that does not exist is status 1" 1 vexctl get $rows 0 2000
status "a wrong dimension is status 1" 1 vexctl search $rows --vector 1,2
status "wrong usage is status 2" 2 vexctl search $rows

status "a small collection is created" 0 vexctl collection create /mnt/small -d 2 -m l2
printf '{"id": 5, "vector": [1, 2], "payload": {"name": "a"}}\n{"id": 9, "vector": [3, 4]}\n' >/tmp/rows.jsonl
status "rows are read from standard input" 0 sh -c 'vexctl insert /mnt/small - --sync </tmp/rows.jsonl'
status "ids are taken once" 1 vexctl insert /mnt/small /tmp/rows.jsonl
status "--upsert replaces" 0 vexctl --json insert /mnt/small /tmp/rows.jsonl --upsert
says "replaced rows are counted" '"replaced":2'
status "ids are assigned after the largest" 0 vexctl --json insert /mnt/small --vector 7,7
says "the assigned id is told" '"first_id":10'
status "rows are deleted" 0 vexctl --json delete /mnt/small 5 6
says "only rows that were there are counted" '"deleted":1'
status "collections are listed" 0 vexctl --json collection list /mnt
says "the list has the small one" '"path":"/mnt/small"'
status "the read-only root refuses" 0 mount -o remount,ro /mnt
status "nothing is inserted read-only" 1 vexctl insert /mnt/small --vector 1,1
says "EROFS is named" EROFS
status "a search works read-only" 0 vexctl search /mnt/small --vector 1,1
mount -o remount,rw /mnt
status "a collection is dropped" 0 vexctl collection drop /mnt/small
status "it is gone" 1 vexctl collection info /mnt/small
mkdir /mnt/twins
# The library on the mount: what rust/vexfs/tests/twins shows of an image.
twins /mnt/twins
status "what it made it dropped" 0 rmdir /mnt/twins
umount /mnt
status "an image command works on the unmounted disk" 0 vexctl --image /dev/vdb collection list
