# Ends a test's PostgreSQL once no process holds its lock any more: tests can be killed, and a server is not to stay.
#
#   bash watchdog.sh USERS STATE FOLDER IDLE_SECONDS
#       USERS    held with a shared lock by each process that uses the server
#       STATE    says that the server is there; removed before it ends
#       FOLDER   the server's own; removed
set -u
users=$1 state=$2 folder=$3 limit=$4 idle=0

exec 9>>"$users"
while :; do
    sleep 1
    if ! flock --nonblock --exclusive 9; then
        idle=0
        continue
    fi
    # Whoever comes now waits for this lock, and then finds that there is no server.
    idle=$((idle + 1))
    ((idle < limit)) || break
    flock --unlock 9
done
rm -f "$state"
postmaster=$(head -n 1 "$folder/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$postmaster" 2>/dev/null
# One that has ended and that nobody has asked about yet still has a number, and no command line.
while [[ -n ${postmaster:-} && -n $(tr -d '\0' 2>/dev/null <"/proc/$postmaster/cmdline") ]]; do sleep 0.1; done
rm -rf "$folder" "$folder.users" # the second is there where the server was one test's own
