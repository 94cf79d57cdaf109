#!/usr/bin/env bash
# Fetches what a GPU machine without a network lacks, as wheels in .whl/ (which git ignores): tools/gpu_day.sh installs them there.
#
#   tools/gpu_wheels.sh              for the windows: openai-whisper and a few pure packages
#   tools/gpu_wheels.sh files        also silero's network, pyannote and an ffmpeg: for whole files and speakers
#
# The machine has Python 3.12 (PYTHON_VERSION), torch and torchaudio 2.11.0+cu130, Triton 3.6, and what comes with them or is on
# most machines for such work: numpy, numba, scipy, tiktoken, tqdm, regex, aiohttp, huggingface-hub, lightning, pytest and friends.
# Versions are those of locks/cu130.txt and locks/dev.txt. All that travels is at most LIMIT_MB, this repository included.
set -euo pipefail
cd "$(dirname "$0")/.."
set_name=${1:-windows}
python_version=${PYTHON_VERSION:-3.12}
limit_mb=${LIMIT_MB:-64}
target=${WHEELS:-.whl}
python=${PYTHON:-python3}

windows="openai-whisper more-itertools structlog pytest-asyncio"
files="silero-vad imageio-ffmpeg asteroid-filterbanks colorlog julius multipart optuna primepy pyannote-audio pyannote-core
  pyannote-database pyannote-metrics pyannote-pipeline pyannoteai-sdk annotated-types pydantic pydantic-core pydantic-settings
  python-dotenv typing-inspection pytorch-metric-learning torch-audiomentations torch-pitch-shift langcodes shtab
  opentelemetry-api opentelemetry-exporter-otlp opentelemetry-exporter-otlp-common opentelemetry-exporter-http-transport
  opentelemetry-exporter-otlp-proto-common opentelemetry-exporter-otlp-proto-grpc opentelemetry-exporter-otlp-proto-http
  opentelemetry-proto opentelemetry-sdk opentelemetry-semantic-conventions googleapis-common-protos
  httpx2 httpcore2 truststore"
built="openai-whisper julius" # which have no wheel of their own
case $set_name in
  windows) wanted=$windows ;;
  files) wanted="$windows $files" ;;
  *) echo "usage: tools/gpu_wheels.sh [windows | files]" >&2; exit 64 ;;
esac

version() { # that of the locks for this Python
  if [ "$1" = imageio-ffmpeg ]; then # a third of the lock's, which has a newer ffmpeg
    echo imageio-ffmpeg==0.6.0
    return
  fi
  "$python" - "$1" "$python_version" <<'PY'
import re, sys
name, python = sys.argv[1], tuple(map(int, sys.argv[2].split(".")))
for lock in ("locks/cu130.txt", "locks/dev.txt"):
    for line in open(lock):
        found = re.match(r"([\w.-]+)(?:\[[\w,-]+\])?==([^\s;\\]+)(.*)", line)
        if not found or found[1].lower().replace("_", "-") != name:
            continue
        bounds = re.findall(r"python_full_version (<|>=) '(\d+)\.(\d+)", found[3])
        if all((python < (int(a), int(b))) == (sign == "<") for sign, a, b in bounds):
            sys.exit(print(f"{found[1]}=={found[2]}"))
sys.exit(f"gpu_wheels: {name} is in no lock")
PY
}

rm -rf "$target"
mkdir -p "$target"
platforms=()
for tag in manylinux_2_28 manylinux_2_27 manylinux_2_26 manylinux_2_24 manylinux_2_17 manylinux2014 manylinux1; do
  platforms+=(--platform "${tag}_x86_64")
done
pinned=() sources=()
for name in $wanted; do
  case " $built " in *" $name "*) sources+=("$(version "$name")") ;; *) pinned+=("$(version "$name")") ;; esac
done
"$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version "$python_version" --implementation cp \
  "${platforms[@]}" --dest "$target" "${pinned[@]}"
PIP_CONSTRAINT=locks/build-constraints.txt "$python" -m pip wheel --quiet --no-deps --wheel-dir "$target" "${sources[@]}"
"$python" tools/slim_wheels.py "$target"

wheels=$(du -sk --apparent-size "$target" | cut -f1)
tree=$(git ls-files -z | xargs -0 du -ck --apparent-size 2>/dev/null | tail -1 | cut -f1)
echo "$(find "$target" -type f | wc -l) files, $((wheels / 1024)) MiB, and $((tree / 1024)) MiB of this repository"
if (((wheels + tree) > limit_mb * 1024)); then
  echo "gpu_wheels: more than the $limit_mb MiB that travel" >&2
  exit 1
fi
