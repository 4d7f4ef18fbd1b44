#!/bin/sh
# Keeps one line, named in the query, and says so when it is on the disk.
echo "$QUERY_STRING" >>/data/lines && sync /data/lines || exit 1
printf 'Content-Type: text/plain\r\n\r\nkept %s\n' "$QUERY_STRING"
