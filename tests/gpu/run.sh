#!/bin/sh
# run.sh ARGUMENTS: the program, or what PROGRAM says, with CUDA's libraries where they usually are: in the system, where a driver is mounted
# into a container, or where Python's packages of them lie.
here=$(dirname "$(realpath "$0")")
for lib in /usr/local/cuda/lib64 /usr/local/nvidia/lib /usr/local/nvidia/lib64 \
    $(python3 -c 'import site; print("\n".join(site.getsitepackages()))' 2> /dev/null | sed 's|$|/nvidia/*/lib|'); do
    [ -d "$lib" ] && LD_LIBRARY_PATH="$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
done
export LD_LIBRARY_PATH
exec "${PROGRAM:-$here/ddpm}" "$@"
