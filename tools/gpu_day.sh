#!/usr/bin/env bash
# The first day on a GPU machine without a network, in one command of ten minutes: what is measured and tried, with a verdict whatever
# happens. Before, where there is a network: tools/gpu_wheels.sh [files], and take .whl/ along.
#
#   tools/gpu_day.sh            tests/gpu, windows of large-v3 at 16, 64 and 128, with word times, too; each kernel; windows of turbo
#   tools/gpu_day.sh files      tests/gpu; two jobs with speakers while steps are recorded, short memory, a window that is no number, a
#                               kill with live graphs; speakers beside other work; whole files with word times; how fast speakers are
#   ONLY="trials files" LIMIT_S=240 tools/gpu_day.sh files     some of the steps, where there is less time
#
# Every step has what is left of LIMIT_S seconds, and keeps its log in OUT. Without a GPU all of it runs with a toy model on the CPU.
set -uo pipefail
cd "$(dirname "$0")/.."
form=${1:-windows}
limit_s=${LIMIT_S:-570}
python=${PYTHON:-python3}
out=${OUT:-bench-output/gpu_day}
site=${SITE:-$(mktemp -d)/site}
mkdir -p "$out"
export PYTHONUNBUFFERED=1 PYANNOTE_METRICS_ENABLED=0 HF_HUB_OFFLINE=1
summary=() failed=0

step() { # NAME, most seconds, command…
  local name=$1 most_s=$2 began=$SECONDS status
  shift 2
  if [ -n "${ONLY:-}" ] && [[ " install $ONLY " != *" $name "* ]]; then return; fi
  local left_s=$((limit_s - SECONDS))
  if ((left_s < 5)); then
    summary+=("$name: not begun, the time is up") failed=1
    return
  fi
  echo "== $name: $*"
  timeout --kill-after=5 $((most_s < left_s ? most_s : left_s)) "$@" 2>&1 | tee "$out/$name.log"
  status=${PIPESTATUS[0]}
  case $status in 0) ;; 124 | 137) status="stopped at its limit" failed=1 ;; *) status="failed with $status" failed=1 ;; esac
  summary+=("$name: ${status/#0/done}, $((SECONDS - began)) s")
  cp -f bench-output/*.json "$out"/ 2>/dev/null
}

windows() { # SHAPE
  step "windows-$1" 260 "$python" -W ignore bench/engine.py --gpu --part windows --shape "$1" --batch "${batches[@]}" --rounds 2 --output "$out/$1"
}

if [ -d .whl ]; then
  step install 120 "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" .whl/*.whl
  export PYTHONPATH=$site
fi
gpu=$("$python" -c 'import torch; print(int(torch.cuda.is_available()))' || echo 0)
echo "GPU that torch can use: $gpu"
tests=tests/gpu
if ! "$python" -c 'import pyannote.audio' 2>/dev/null; then tests=tests/gpu/test_decoder.py; fi # the others need the second set
shapes=(large-v3 turbo) batches=(16 64 128) speakers=(--minutes 30)
if [ "$gpu" = 0 ]; then shapes=(toy) batches=(1 2) speakers=(--minutes 0.2 --recordings 2 --rounds 1); fi

case $form in
  windows)
    step tests 150 "$python" -m pytest "$tests" -m gpu -q --continue-on-collection-errors -p no:cacheprovider
    windows "${shapes[0]}"
    step kernels 110 "$python" -W ignore bench/gpu_kernels.py
    for shape in "${shapes[@]:1}"; do windows "$shape"; done
    ;;
  files)
    step tests 150 "$python" -m pytest "$tests" -m gpu -q --continue-on-collection-errors -p no:cacheprovider
    step trials 300 "$python" -W ignore bench/gpu_trials.py
    step speakers 150 "$python" -W ignore bench/diarization_beside.py "${speakers[@]}"
    step files 260 "$python" -W ignore bench/engine.py --gpu --part files --output "$out/files"
    ;;
  *)
    echo "usage: tools/gpu_day.sh [windows | files]" >&2
    exit 64
    ;;
esac
printf '\n== the day, %s s\n' "$SECONDS"
printf '  %s\n' "${summary[@]}"
grep -h '^RESULT .*=' "$out"/*.log
exit "$failed"
