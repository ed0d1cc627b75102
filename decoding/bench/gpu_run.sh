#!/bin/sh
# Everything that only a GPU can tell, in at most nine minutes on one H200, from the root of a checkout:
#   sh decoding/bench/gpu_run.sh OUT
# First the checks, then the times: OUT/tables.tar has a JSON file a table, and what was printed, as far as it got.
# It needs torch, triton, transformers, tokenizers, safetensors, aiohttp and rich, and no network.
# Rehearsed without a GPU, by tiny models and with ten times the time: DEVICE=cpu sh decoding/bench/gpu_run.sh OUT
set -u
out=$1
began=$(date +%s)
limit_s=520
slower=1
python=${PYTHON:-python3}
mkdir -p "$out"
work=$(mktemp -d)
export TABCAST_CONFIG="$work/no-config.toml" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
if [ "${DEVICE:-cuda}" = cpu ]; then
    export TABCAST_KERNELS=rehearsed TABCAST_DEVICE=cpu TABCAST_DTYPE=float32 TABCAST_THREADS=1 OMP_NUM_THREADS=1
    limit_s=5200; slower=10
    small=smaller; checked=tiny; main=tiny; large=tiny; contexts=64,128; first=64; kinds=int8; tokens=8
    # A prompt of whole chunks would be read to its last chunk by steps, which is its slowest place.
    decoded=65; long=129
else
    export TABCAST_DEVICE=cuda
    small=qwen2.5-coder-0.5b; checked=qwen2.5-coder-1.5b; main=qwen2.5-coder-7b; large=qwen2.5-coder-32b
    contexts=1024,4096,8192,16384; first=1024; kinds="fp8 int8 int4"; tokens=96
    decoded=1025; long=8193
fi
failed=0

# bench NAME SECONDS ARGUMENTS: a suite, if there is time for it, with what it prints kept beside its figures.
bench() {
    name=$1; seconds=$(($2 * slower)); shift 2
    left=$((limit_s - ($(date +%s) - began)))
    if [ "$left" -lt 20 ]; then echo "== $name: no time left"; return; fi
    if [ "$left" -lt "$seconds" ]; then seconds=$left; fi
    echo "== $name ($left s left)"
    timeout -s INT -k 20 "$seconds" "$python" -m decoding bench "$@" --json "$work/$name.json" >"$work/$name.log" 2>&1
    code=$?
    [ "$code" -eq 0 ] || { failed=1; echo "== $name ended with $code"; }
    tail -n 45 "$work/$name.log"
    tar -cf "$out/tables.tar" -C "$work" .
}

bench checks 150 gpu-check --shape "$checked" --draft-shape "$small"
bench passes-7b 60 passes --shape "$main" --draft-shape "$small" --context "$contexts" --profile 12
bench lossless-7b 50 decode --shape "$main" --draft-shape "$small" --context "$decoded" --max-tokens 32 --limit 1 \
    --methods plain,lookup,draft,parallel,lookahead,auto
bench decode-7b 100 decode --shape "$main" --draft-shape "$small" --context "$decoded" --max-tokens "$tokens" --limit 1 \
    --methods plain,draft,parallel,lookup --synthetic-acceptance 0.6,0.8,0.9 --baselines transformers,transformers-assisted
for kind in $kinds; do
    bench "passes-7b-$kind" 40 passes --shape "$main" --quantize "$kind" --context "$first"
done
bench passes-32b 60 passes --shape "$large" --draft-shape "$small" --context "$contexts"
bench decode-32b 80 decode --shape "$large" --draft-shape "$small" --context "$decoded" --max-tokens "$tokens" --limit 1 \
    --methods plain,draft,parallel --synthetic-acceptance 0.8
bench decode-7b-long 60 decode --shape "$main" --draft-shape "$small" --context "$long" --max-tokens "$tokens" \
    --limit 1 --methods plain,draft,parallel --synthetic-acceptance 0.8
bench decode-shipped 40 decode --max-tokens 64 --limit 8 --methods plain,draft,lookup,auto
echo "== $(($(date +%s) - began)) s"
exit $failed
