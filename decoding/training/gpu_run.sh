#!/bin/sh
# One stretch of at most nine minutes on a machine with a large GPU, from the root of a checkout:
#   sh decoding/training/gpu_run.sh OUT [options of `train pair`, such as --corpus FOLDER for a corpus brought along]
# Run it again until it says that the pair is finished; OUT gets the newest weights in int8 files below 16 MB.
# It needs torch, transformers and rich there, and no network. TABCAST_WORK is kept between the calls.
set -e
began=$(date +%s)
out=$1
shift
work=${TABCAST_WORK:-$HOME/.cache/tabcast-pair}
if [ ! -f "$work/corpus/manifest.json" ]; then
    python3 -m decoding train corpus --out "$work/corpus"
fi
left=$(awk "BEGIN { print (540 - ($(date +%s) - $began)) / 60 }")
exec python3 -m decoding train pair --corpus "$work/corpus" --tokenizer decoding/bundled/target \
    --work "$work" --shards "$out" --stretch-minutes "$left" "$@"
