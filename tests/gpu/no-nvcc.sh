#!/bin/sh
# Stands in for nvcc where only types are checked (`just check-cuda`): every file that is asked for exists, and is empty.
to= folder=. kind= sources=
while [ $# -gt 0 ]; do
    case $1 in
    --version) printf 'stand-in\n\n\nCuda compilation tools, release 13.0, V13.0.88\n' && exit ;;
    --list-gpu-code) echo sm_90 && exit ;;
    -o) to=$2 && shift ;;
    --output-directory) folder=$2 && shift ;;
    --default-stream | -ccbin | -Xcompiler) shift ;;
    --ptx | -ptx) kind=ptx ;;
    --lib) kind=lib ;;
    *.cu) sources=$1 ;;
    esac
    shift
done
to=${to:-$folder/$(basename "$sources" .cu).ptx}
if [ "$kind" = lib ]; then rm -f "$to" && ar rcs "$to"; else : > "$to"; fi
