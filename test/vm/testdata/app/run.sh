#!/bin/sh
# Serves the page, and notes that it was asked to end: what is killed instead notes nothing.
trap 'echo asked >>/data/ends; sync /data/ends; exit 0' TERM
httpd -f -h /www &
wait
