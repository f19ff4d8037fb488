#!/bin/bash
#SBATCH --job-name=ddpm-x
#SBATCH --array=0-41%20
#SBATCH --output="/data/r/slurm/x/%a.txt"
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --ntasks=1
#SBATCH --signal=B:USR1@120
#SBATCH --partition=main
#SBATCH --account=lab
#SBATCH --time=4:00:00
#SBATCH --mem=32G
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --exclude=node7

module load cuda
'/opt/it'\''s/ddpm' work '/data/r/slurm/x/plan.jsonl' "$SLURM_ARRAY_TASK_ID" --results '/data/r' --checkpoint-every 300 &
work=$!
limit=
trap 'limit=yes; kill -USR1 $work' USR1
trap 'kill -TERM $work' TERM
# A signal ends the waiting, not the work.
while wait $work; status=$?; kill -0 $work 2>/dev/null; do :; done
if [ -n "$limit" ] && [ $status = 130 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit $status
