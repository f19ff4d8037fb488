#!/usr/bin/env bash
# A Slurm cluster of one node on this machine, for tests: cluster.sh start FOLDER, cluster.sh controller FOLDER, cluster.sh stop FOLDER.
# Needs root, and slurmctld, slurmd and munged (Debian: slurm-wlm, munge). Its commands find it by SLURM_CONF=FOLDER/slurm.conf.
set -euo pipefail
folder=$2
conf=$folder/slurm.conf
case $1 in
start)
    node=$(hostname -s)
    mkdir -p "$folder"/{spool,state,munge}
    chmod 755 "$folder"
    chown munge: "$folder/munge"
    cat > "$conf" <<END
ClusterName=faults
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/controller.pid
SlurmdPidFile=$folder/node.pid
SlurmctldLogFile=$folder/controller.log
SlurmdLogFile=$folder/node.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
JobRequeue=1
KillWait=5
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
    # The daemon must not hold the pipe that this script's own words go through.
    runuser -u munge -- munged --force --num-threads=1 --socket="$folder/munge/socket" --pid-file="$folder/munge/pid" \
        --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" > /dev/null 2>&1
    for _ in $(seq 50); do [ -S "$folder/munge/socket" ] && break; sleep 0.1; done
    slurmctld -f "$conf" > /dev/null 2>&1
    slurmd -f "$conf" > /dev/null 2>&1
    for _ in $(seq 100); do
        [ "$(SLURM_CONF=$conf sinfo -h -o %t 2> /dev/null)" = idle ] && exit 0
        sleep 0.2
    done
    tail -n 5 "$folder"/*.log >&2
    exit 1
    ;;
controller)
    slurmctld -f "$conf" > /dev/null 2>&1
    ;;
stop)
    for pid in "$folder"/{controller.pid,node.pid,munge/pid}; do
        [ -s "$pid" ] && kill "$(cat "$pid")" 2> /dev/null || true
    done
    ;;
esac
