#!/bin/busybox sh
# The first and only program of the domain that administers Xen: does what it is told over the second serial port.
/bin/busybox mkdir -p /proc /sys /tmp /work
/bin/busybox --install -s /bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
mount -t tmpfs none /work
while read -r module; do insmod "/modules/$module"; done < /modules/order
export HOME=/work TZ=UTC LC_ALL=C

# Take payload files from the disk: their bytes are read anew each time. take FIRST_SECTOR SIZE PATH
take() {
    case $3 in */*) mkdir -p -- "${3%/*}" ;; esac
    dd if=/dev/vda of="$3" iflag=direct bs=4096 skip="$1" count="$((($2 + 4095) / 4096))" 2>/dev/null
    truncate -s "$2" -- "$3"
}

# Run a command, then the list of payloads; answer with status and sizes in one line, then with what was said.
step() {
    (eval "$1") > /tmp/out 2> /tmp/err < /dev/null
    status=$?
    xen-livepatch list > /tmp/list 2>&1 < /dev/null
    echo done "$status" $(stat -c %s /tmp/out /tmp/err /tmp/list)
    cat /tmp/out /tmp/err /tmp/list
}

# Have a mark put among Xen's own lines.
mark() { echo "$1" > /dev/hvc0; }

stty raw -echo < /dev/ttyS1
exec < /dev/ttyS1 > /dev/ttyS1 2> /dev/hvc0
cd /work
echo ready
while IFS= read -r line; do eval "$line"; done
