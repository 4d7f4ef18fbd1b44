// Package vm runs bin/perch on machines as users have them: a Debian with systemd and its stock kernel, in a virtual
// machine, with control groups of version 2 and of version 1, with a clock that is set and a machine that sleeps, and with a
// power cut in the middle of writing. What the machine does is testdata/guest.sh; here it is booted, listened to and, for
// the power cut, killed.
//
//	make vmtest                       # everything, some 14 minutes where the processor is emulated
//	make vmtest RUN=TestVersion1      # one machine
//
// tools/vmtest.sh makes the disk that the machines boot from; VMTEST_DIR names its folder. What the kernels said is left
// there.
package vm
