#!/bin/sh
# Runs the module's self tests in a Slicer on this computer and writes a log to send:
#
#     Testing/in-slicer.sh PATH_TO_SLICER [LOG]
#
# PATH_TO_SLICER is the program itself (Slicer, Slicer.exe) or the folder it was unpacked to. Nothing is built and
# nothing is installed: the module is loaded from this source folder, as under "Additional module paths". Tests of a
# registration are passed over, and the log says so, where the PyTorch extension or torch is missing: install them first,
# by a click on the module's own button.
set -u

root=$(cd "$(dirname "$0")/.." && pwd)
slicer=${1:?"usage: $0 PATH_TO_SLICER [LOG]"}
log=${2:-in-slicer.log}

if [ -d "$slicer" ]; then
    for name in Slicer Slicer.exe Contents/MacOS/Slicer; do
        if [ -f "$slicer/$name" ]; then
            slicer="$slicer/$name"
            break
        fi
    done
fi
if [ ! -f "$slicer" ]; then
    echo "There is no Slicer at $slicer." >&2
    exit 2
fi

# The path goes through the environment, for any quotation mark may be part of it.
export ULAE_MODULE_FOLDER="$root/ULAERegistration"
code="import os, slicer, slicer.testing
print('Slicer', slicer.app.applicationVersion, slicer.app.revision, slicer.app.platform)
slicer.testing.runUnitTest([os.environ['ULAE_MODULE_FOLDER']], 'ULAERegistration')
slicer.testing.exitSuccess()"

{
    echo "date: $(date)"
    echo "system: $(uname -a)"
    echo "revision: $(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)"
    "$slicer" --no-splash --testing --ignore-slicerrc --additional-module-paths "$ULAE_MODULE_FOLDER" \
        --python-code "$code" 2>&1
    echo "exit status: $?"
} >"$log"

cat "$log"
status=$(sed -n 's/^exit status: //p' "$log" | tail -n 1)
if grep -q "Passed over" "$log"; then
    echo "Some tests were passed over, for want of torch." >&2
fi
echo "The log is in $log." >&2
exit "$status"
