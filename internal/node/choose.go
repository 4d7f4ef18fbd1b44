package node

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/node/network"
	"github.com/perch-k8s/perch/internal/node/settings"
	"github.com/perch-k8s/perch/internal/node/supervisor"
)

// Check says why a cluster with these settings cannot be started on this machine. It changes nothing.
func (c Cluster) Check() error {
	if err := c.validate(); err != nil {
		return err
	}
	_, err := c.nextPlan()
	return err
}

// chosen are the settings that the next start will have: those asked for, over those that were kept.
func (c Cluster) chosen() (settings.Settings, error) {
	kept, err := settings.Read(c.layout().Settings())
	if errors.Is(err, os.ErrPermission) {
		return c.Settings, nil // preflight says that root is needed
	}
	return c.Settings.Over(kept), err
}

// nextPlan is the network that a start would choose now, unless its settings cannot be; the supervisor chooses again, when
// it has the lock for it.
func (c Cluster) nextPlan() (network.Plan, error) {
	if b := c.Settings.DiskBudget; b != 0 && b < settings.LeastBudget {
		return network.Plan{}, fault.New(fault.Usage, "as --disk-budget 20GB", "--disk-budget %d: at least %d bytes are needed", b, int64(settings.LeastBudget))
	}
	chosen, err := c.chosen()
	if err != nil {
		return network.Plan{}, err
	}
	state, err := supervisor.ReadState(c.layout())
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
		return network.Plan{}, err
	}
	wish, err := supervisor.Wish(state, err == nil, chosen)
	if err != nil {
		return network.Plan{}, err
	}
	host, err := network.HostNetworks()
	if err != nil {
		return network.Plan{}, err
	}
	return network.PlanFor(c.Name, wish, host)
}

// checkRunning refuses settings that a running cluster does not have: they count from its next start on.
func (c Cluster) checkRunning() error {
	if c.Settings.Open() {
		return nil
	}
	state, err := supervisor.ReadState(c.layout())
	if err != nil {
		return err
	}
	wish, err := supervisor.Wish(state, true, c.Settings)
	if err != nil {
		return err
	}
	kept, err := settings.Read(c.layout().Settings())
	if err != nil {
		return err
	}
	inside := !wish.Subnet.IsValid() || wish.Subnet.Contains(state.Network.NodeIP.Addr())
	if inside && !c.Settings.Differ(kept) {
		return nil
	}
	return fault.New(fault.Usage, "perch cluster stop, and start it again with these flags",
		"cluster %q runs with other settings: the node is %s, the disk budget %s, DNS stubs %s", c.Name, state.Network.NodeIP.Addr(), budgetText(kept.DiskBudget), stubsText(kept.DNSStubs))
}

func budgetText(bytes int64) string {
	if bytes == 0 {
		return "the default"
	}
	return fmt.Sprintf("%d bytes", bytes)
}

func stubsText(stubs []settings.Stub) string {
	if len(stubs) == 0 {
		return "none"
	}
	var texts []string
	for _, s := range stubs {
		texts = append(texts, s.String())
	}
	return strings.Join(texts, " ")
}

// keepSettings writes what was asked for into the cluster's folder. It is called with the lock held.
func (c Cluster) keepSettings() error {
	if c.Settings.Open() {
		return nil
	}
	chosen, err := c.chosen()
	if err != nil {
		return err
	}
	return chosen.Write(c.layout().Settings())
}
