#!/bin/bash
# Boots systemd as PID 1 of namespaces of its own, for conftest.py: boot.sh machine LOWER SCRATCH GROUP PACKAGES SOURCE
# in a fresh mount namespace. LOWER is a Debian root and is never written to; what the machine writes is kept in memory
# below SCRATCH; GROUP is a cgroup2 directory for it; PACKAGES and SOURCE are the site-packages and the package under test.
# SCRATCH/pid holds the pid of its PID 1 as seen from outside. A reboot boots again, anything else ends it.
set -eu
stage=$1 lower=$2 scratch=$3 group=$4 packages=$5 source=$6
shift
memory=$scratch/memory
root=$memory/root

# Other tests unmount their disks, which copies of the mounts in here would keep alive.
forget_disks() {
    while read -r device point _; do
        case $device in /dev/loop*) umount -l "$point" || true ;; esac
    done </proc/self/mounts
}

make_root() {
    mount -t tmpfs -o mode=755 tmpfs "$memory"
    mkdir "$memory/upper" "$memory/work" "$root"
    mount -t overlay -o "lowerdir=$lower,upperdir=$memory/upper,workdir=$memory/work" overlay "$root"
    # What holds state is no overlay: a restore compares device numbers, and overlays make them up for files.
    for directory in var srv home; do
        cp -a "$lower/$directory" "$memory/$directory"
        mount --bind "$memory/$directory" "$root/$directory"
    done
    mkdir -p "$root/opt/recoverd/packages" "$root/opt/recoverd/source/recoverd"
    mount --bind "$packages" "$root/opt/recoverd/packages"
    mount --bind "$source" "$root/opt/recoverd/source/recoverd"
    printf '%s\n' '#!/bin/sh' 'export PYTHONDONTWRITEBYTECODE=1' \
        'export PYTHONPATH=/opt/recoverd/source:/opt/recoverd/packages' \
        'exec /usr/bin/python3 -m recoverd "$@"' >"$root/usr/bin/recoverd"
    chmod 755 "$root/usr/bin/recoverd"
    echo machine >"$root/etc/hostname"
    ln -s /dev/null "$root/etc/systemd/system/console-getty.service"
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
}

fill_root() {
    cd "$root"
    mount -t proc proc proc
    mount --bind proc/sys proc/sys
    mount -o remount,bind,ro proc/sys
    tr -d '\n' </proc/sys/kernel/random/uuid >"$memory/boot_id"
    echo >>"$memory/boot_id"
    mount --bind "$memory/boot_id" proc/sys/kernel/random/boot_id
    mount -t sysfs -o ro sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs dev
    while read -r name major minor; do
        mknod -m 666 "dev/$name" c "$major" "$minor"
    done <<<$'null 1 3\nzero 1 5\nfull 1 7\nrandom 1 8\nurandom 1 9\ntty 5 0\nconsole 1 3'
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    for one in stdin,0 stdout,1 stderr,2; do ln -s "/proc/self/fd/${one#*,}" "dev/${one%,*}"; done
    for directory in dev/shm run tmp; do mount -t tmpfs tmpfs "$directory"; done
    chmod 755 run
    chmod 1777 dev/shm tmp
}

case $stage in
machine)
    forget_disks
    make_root
    while :; do
        setpriv --pdeathsig KILL unshare --pid --fork --kill-child --mount --uts --ipc --net --propagation private \
            bash "$0" enter "$@" </dev/null &
        wait $! && break || status=$?
        # unshare tells the signal that reboot(2) ends a pid namespace with: SIGHUP; anything else is a kill of PID 1, which
        # is the end unless SCRATCH/wait is there: then the machine lies dead until that is removed
        if [ "$status" != 129 ]; then
            [ -e "$scratch/wait" ] || exit "$status"
            echo dead >"$scratch/wait"
            while [ -e "$scratch/wait" ]; do sleep 0.02; done
        fi
        find "$group" -mindepth 1 -depth -type d -exec rmdir {} + || true
    done
    ;;
enter) # /proc is still the one outside
    read -r pid _ </proc/self/stat
    echo 0 >"$group/cgroup.procs"
    echo "$pid" >"$scratch/pid.new"
    mv "$scratch/pid.new" "$scratch/pid"
    exec unshare --cgroup bash "$0" boot "$@"
    ;;
boot)
    mount --rbind "$root" "$root"
    fill_root
    hostname machine
    ip link set lo up
    mkdir run/before
    pivot_root . run/before
    cd /
    umount -l /run/before
    rmdir /run/before
    exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        /usr/lib/systemd/systemd
    ;;
esac
