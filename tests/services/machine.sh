#!/bin/sh
# A machine whose first process is systemd: a file system of its own in memory, with this one's
# /usr to read; process, mount, cgroup, IPC and host names of its own; the network namespace that it
# is started in. Nothing outside it is started or written. booted.py is what calls this.
#
#   machine.sh outside ROOT GROUP SOURCE PACKAGES PYTHON VERSION
#
# ROOT is an empty folder, GROUP the name of a new cgroup below ours, SOURCE the checkout, PACKAGES
# where its packages are, PYTHON the folder of its interpreter (bin/pythonVERSION there).
set -eu
stage=$1 root=$2 group=$3 source=$4 packages=$5 python=$6 version=$7
again() {
    next=$1 && shift
    exec "$@" "$0" "$next" "$root" "$group" "$source" "$packages" "$python" "$version"
}

# In a mount namespace of its own: makes the cgroup, and removes it once the machine is gone.
outside() {
    mkdir "$root/cgroup" "$root/machine"
    mount -t cgroup2 cgroup2 "$root/cgroup"
    ours=$root/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/$group
    mkdir "$ours"
    (echo 0 >"$ours/cgroup.procs" && again between unshare --cgroup --mount) &
    machine=$!
    trap 'kill -KILL $machine' TERM INT HUP
    code=0
    wait $machine || code=$?
    for _ in 1 2 3 4 5 6 7 8 9 10; do # the kernel takes a moment to bury its processes
        find "$ours" -depth -type d -exec rmdir {} + 2>/dev/null || true
        [ -d "$ours" ] || exit $code
        sleep 0.1
    done
    exit 1
}

# The cgroup's own root must hold nobody but the first process, which moves on.
between() {
    umount "$root/cgroup"
    mount -t cgroup2 cgroup2 "$root/cgroup"
    mkdir "$root/cgroup/outside"
    echo 0 >"$root/cgroup/outside/cgroup.procs"
    again inside unshare --pid --ipc --uts --fork --kill-child=KILL
}

inside() {
    echo 0 >"$root/cgroup/cgroup.procs"
    read -r pid _ </proc/self/stat # as seen from outside: /proc is still that of there
    echo "$pid" >"$root/pid"
    here=$root/machine
    mount -t tmpfs -o mode=755 machine "$here"
    cd "$here"
    mkdir -m 755 dev etc opt opt/nfc opt/python old proc root run sys usr var var/lib var/log
    mkdir -m 1777 tmp var/tmp
    ln -s /run var/run
    mount --bind -o ro /usr usr
    for top in bin sbin lib lib32 lib64 libx32; do
        if [ -L "/$top" ]; then
            cp -P "/$top" "$top"
        elif [ -d "/$top" ]; then
            mkdir "$top" && mount --bind -o ro "/$top" "$top"
        fi
    done
    mount -t tmpfs none usr/lib/systemd/system-generators
    mount -t tmpfs none usr/local/sbin

    # What the kernel shows. Settings that are of the whole kernel are only to be read.
    mount -t proc proc proc
    mount --bind proc/sys proc/sys
    mount --bind proc/sys/net proc/sys/net # that is of the namespace
    mount -o remount,bind,ro proc/sys
    mount -t sysfs -o ro sysfs sys
    mount -t bpf bpf sys/fs/bpf
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=755 run run
    mount -t tmpfs -o mode=755 dev dev
    mkdir -m 755 dev/net dev/pts
    mkdir -m 1777 dev/shm
    for device in null zero full random urandom tty net/tun; do
        major_minor=$(stat -c '0x%t 0x%T' "/dev/$device")
        # shellcheck disable=SC2086 (two words)
        mknod -m 666 "dev/$device" c $major_minor
    done
    mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    for number in 0 1 2; do ln -s "/proc/self/fd/$number" "dev/std$(echo in out err | cut -d' ' -f$((number + 1)))"; done
    ln -s /proc/self/fd dev/fd

    # nfc as an operator installs it: a folder in /opt, a name on the path of services.
    mkdir opt/nfc/source opt/nfc/packages
    mount --bind -o ro "$source" opt/nfc/source
    mount --bind -o ro "$packages" opt/nfc/packages
    mount --bind -o ro "$python" opt/python
    ln -s "/opt/python/bin/python$version" opt/nfc/python3
    cat >usr/local/sbin/nfc <<'END'
#!/bin/sh
export PYTHONPATH=/opt/nfc/source:/opt/nfc/packages PYTHONDONTWRITEBYTECODE=1
export LD_LIBRARY_PATH=/opt/python/lib # its own, where it has one
exec /opt/nfc/python3 -P ${COMMANDS:--m nfc} "$@"
END
    cat >usr/local/sbin/nfc-commands <<'END'
#!/bin/sh
COMMANDS=/opt/nfc/commands.py exec nfc "$@"
END
    cat >opt/nfc/commands.py <<'END'
import sys
from nfc.cli import cli

for line in sys.argv[1:]:
    cli.main(line.split(), prog_name="nfc", standalone_mode=False)
END
    chmod 755 usr/local/sbin/*

    mkdir -p etc/systemd/system etc/nfc
    cp -P /etc/ld.so.cache etc/ 2>/dev/null || true
    echo 'root:x:0:0:root:/root:/bin/sh' >etc/passwd
    echo 'nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin' >>etc/passwd
    printf 'root:x:0:\nnogroup:x:65534:\nsystemd-journal:x:101:\n' >etc/group
    echo 'machine' >etc/hostname
    echo '0123456789abcdef0123456789abcdef' >etc/machine-id
    [ -e /usr/lib/os-release ] && ln -s ../usr/lib/os-release etc/os-release
    printf 'passwd: files\ngroup: files\n' >etc/nsswitch.conf
    cp "$source"/contrib/systemd/*.service etc/systemd/system/
    for target in sysinit basic network multi-user shutdown; do
        printf '[Unit]\nDefaultDependencies=no\n' >etc/systemd/system/$target.target
    done
    for unit in systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket; do
        ln -s /usr/lib/systemd/system/$unit etc/systemd/system/$unit
    done
    printf '[Unit]\nRequires=systemd-journald.service systemd-journald-dev-log.socket\n' \
        >etc/systemd/system/machine.target
    printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRateLimitBurst=0\n' >etc/systemd/journald.conf

    pivot_root . old
    exec /usr/sbin/chroot / /bin/sh -c '
        umount -l /old
        exec /usr/bin/env -i container=nfc-tests SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/system \
            PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            setpriv --bounding-set=-sys_module,-sys_boot,-sys_time,-sys_rawio \
            /lib/systemd/systemd --system --unit=machine.target --log-target=console \
            --log-level=notice --show-status=no'
}

"$stage"
