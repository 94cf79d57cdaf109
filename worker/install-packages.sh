#!/bin/sh
# Installs one stack's lock into /opt/btworker while the image is built:
#
#   install-packages.sh LOCK TORCH_INDEX [ENVIRONMENT]
#
# On x86-64, torch and torchaudio come from PyTorch's own index. It builds its wheels itself, so they have other hashes than
# the lock's and are held by their version alone. Elsewhere the image is for the CPU, and of CUDA the lock has nothing: what
# that index has for arm64 (cu130) would not even start. There, and where the index cannot be reached, they come from the
# default index like everything else, and then the lock's hashes are asked for. What came from where is written to
# /opt/btworker/torch-index, so that an image can be asked.
set -eu

lock=$1
index=$2
folder=$(dirname "$lock")
environment=${3:-/opt/btworker}
pip=$environment/bin/pip
# openai-whisper 20231117 is a source package whose build imports pkg_resources, which setuptools 81 dropped. Newer pips
# ask the second variable; older ones do not know it.
export PIP_CONSTRAINT="$folder/build-constraints.txt" PIP_BUILD_CONSTRAINT="$folder/build-constraints.txt"

# An entry of the lock begins in the first column; its hashes are indented below it.
awk '/^[a-z0-9]/ { torch = /^(torch|torchaudio)==/ } torch' "$lock" >"$folder/torch.txt"
awk '/^[a-z0-9]/ { torch = /^(torch|torchaudio)==/ } !torch' "$lock" >"$folder/others.txt"
versions=$(sed -n 's/^\(torch[a-z]*==[^ ]*\).*/\1/p' "$folder/torch.txt")

echo "Everything but torch: from the lock, with hashes"
$pip install --no-deps --require-hashes --requirement "$folder/others.txt"

if [ "$(uname -m)" = x86_64 ]; then
    echo "torch: from $index"
    # $versions is two words on purpose.
    # shellcheck disable=SC2086
    if $pip install --no-deps --only-binary :all: --retries 2 --timeout 60 --index-url "$index" $versions; then
        from=$index
    else
        echo "torch: $index has no such wheel, or cannot be reached (above): from the default index, with hashes"
    fi
fi
if [ -z "${from:-}" ]; then
    $pip install --no-deps --require-hashes --requirement "$folder/torch.txt"
    from="the default package index"
fi
echo "$from" >"$environment/torch-index"
echo "torch: came from $from"

# btworker lies beside the packages, see the Dockerfile.
site=$("$environment/bin/python3" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo /opt/btworker-app >"$site/btworker.pth"
