package compose

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/format"
	"github.com/compose-spec/compose-go/v2/types"
	imageref "github.com/distribution/reference"
	"github.com/docker/go-units"
	"github.com/robfig/cron/v3"
	"go.yaml.in/yaml/v4"
)

// common is the pattern of an attribute of services, for one of a hook or a job.
func common(pattern string) string {
	if rest, ok := strings.CutPrefix(pattern, hookPrefix); ok {
		return "services.*." + rest
	}
	if rest, ok := strings.CutPrefix(pattern, "jobs.*."); ok {
		return "services.*." + rest
	}
	return pattern
}

// longForm checks a volume or a port in its long form: the specification's schema does not say what it needs.
func (e *examiner) longForm(n *yaml.Node, at place) {
	if e.source.override {
		return
	}
	switch common(at.pattern) {
	case "services.*.volumes.[]":
	case "services.*.ports.[]":
		if _, target := child(n, "target"); target == nil {
			e.problem(n, at, "target is missing", "write target: PORT, the port in the container")
		}
		return
	default:
		return
	}
	_, kind := child(n, "type")
	_, source := child(n, "source")
	if _, target := child(n, "target"); target == nil {
		e.problem(n, at, "target is missing", "write target: /path/in/the/container")
	}
	if kind != nil && source == nil && e.text(resolve(kind)) == types.VolumeTypeBind {
		e.problem(n, at, "a bind mount needs a source", "write source: ./path/in/the/project")
	}
}

// value checks a scalar beyond its type: what compose-go would stumble over one at a time, and without its line. It says
// whether there was a check for it.
func (e *examiner) value(n *yaml.Node, value string, at place) bool {
	check, ok := e.checks[at.pattern]
	if !ok {
		check, ok = e.checks[common(at.pattern)]
	}
	if !ok || jsonType(n) == "null" {
		return false
	}
	if message, hint := check(value); message != "" {
		e.problem(n, at, message, hint)
	}
	return true
}

// valueCheck says what is wrong with a value, "" when nothing is.
type valueCheck func(value string) (message, hint string)

func valueChecks() map[string]valueCheck {
	s := "services.*."
	checks := map[string]valueCheck{
		s + "ports.[]":                             checkPort,
		s + "ports.[].target":                      checkPortNumber,
		s + "ports.[].published":                   checkPortNumbers,
		s + "ports.[].protocol":                    checkProtocol,
		s + "expose.[]":                            checkExpose,
		s + "volumes.[]":                           checkVolume,
		s + "healthcheck.interval":                 checkDuration,
		s + "healthcheck.timeout":                  checkDuration,
		s + "healthcheck.start_period":             checkDuration,
		s + "healthcheck.start_interval":           checkDuration,
		s + "healthcheck.retries":                  checkCount,
		s + "stop_grace_period":                    checkDuration,
		s + "deploy.update_config.delay":           checkDuration,
		s + "deploy.update_config.monitor":         checkDuration,
		s + "deploy.update_config.parallelism":     checkCount,
		s + "deploy.restart_policy.delay":          checkDuration,
		s + "deploy.restart_policy.window":         checkDuration,
		s + "deploy.restart_policy.max_attempts":   checkCount,
		s + "deploy.replicas":                      checkCount,
		s + "scale":                                checkCount,
		s + "mem_limit":                            checkBytes,
		s + "mem_reservation":                      checkBytes,
		s + "shm_size":                             checkBytes,
		s + "volumes.[].tmpfs.size":                checkBytes,
		s + "deploy.resources.limits.memory":       checkBytes,
		s + "deploy.resources.reservations.memory": checkBytes,
		s + "deploy.resources.limits.cpus":         checkCPUs,
		s + "deploy.resources.reservations.cpus":   checkCPUs,
		s + "cpus":                                 checkCPUs,
		s + "restart":                              checkRestart,
		s + "pull_policy":                          checkPullPolicy,
		s + "deploy.mode":                          checkMode,

		"jobs.*.triggers.schedule.[]":          checkCron,
		"jobs.*.triggers.schedule.[].cron":     checkCron,
		"jobs.*.triggers.schedule.[].timezone": checkTimezone,
	}
	maps.Copy(checks, runValueChecks())
	return checks
}

// runValueChecks are those of how a container is started, how much it may use, and how it is rolled out.
func runValueChecks() map[string]valueCheck {
	s := "services.*."
	return map[string]valueCheck{
		s + "command":                                checkWords,
		s + "entrypoint":                             checkWords,
		s + "post_start.[].command":                  checkWords,
		s + "pre_stop.[].command":                    checkWords,
		s + "develop.watch.[].exec.command":          checkWords,
		s + "image":                                  checkImage,
		s + "user":                                   checkUser,
		s + "cap_add.[]":                             checkCapability,
		s + "cap_drop.[]":                            checkCapability,
		s + "extra_hosts.[]":                         checkHost,
		s + "build.extra_hosts.[]":                   checkHost,
		s + "cpu_shares":                             checkCount,
		s + "cpu_quota":                              checkInteger,
		s + "cpu_period":                             checkCount,
		s + "pids_limit":                             checkInteger,
		s + "oom_score_adj":                          checkInteger,
		s + "memswap_limit":                          checkSwap,
		s + "umask":                                  checkFileMode,
		s + "secrets.[].mode":                        checkFileMode,
		s + "configs.[].mode":                        checkFileMode,
		s + "volumes.[].tmpfs.mode":                  checkFileMode,
		s + "gpus.[].count":                          checkDeviceCount,
		s + "ulimits.*":                              checkInteger,
		s + "ulimits.*.soft":                         checkInteger,
		s + "ulimits.*.hard":                         checkInteger,
		s + "build.ulimits.*":                        checkInteger,
		s + "build.ulimits.*.soft":                   checkInteger,
		s + "build.ulimits.*.hard":                   checkInteger,
		s + "build.shm_size":                         checkBytes,
		s + "deploy.endpoint_mode":                   checkWord("vip", "dnsrr"),
		s + "deploy.placement.max_replicas_per_node": checkCount,
		s + "deploy.resources.limits.pids":           checkInteger,
		s + "deploy.resources.reservations.devices.[].count":                                  checkDeviceCount,
		s + "deploy.resources.reservations.generic_resources.[].discrete_resource_spec.value": checkCount,
		s + "deploy.update_config.failure_action":                                             checkWord("pause", "continue", "rollback"),
		s + "deploy.update_config.max_failure_ratio":                                          checkRatio,
		s + "deploy.rollback_config.failure_action":                                           checkWord("pause", "continue"),
		s + "deploy.rollback_config.max_failure_ratio":                                        checkRatio,
		s + "deploy.rollback_config.delay":                                                    checkDuration,
		s + "deploy.rollback_config.monitor":                                                  checkDuration,
		s + "deploy.rollback_config.parallelism":                                              checkCount,
		s + "deploy.restart_policy.condition":                                                 checkWord("none", "on-failure", "any"),
	}
}

var userAndGroup = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$`)

func checkUser(value string) (string, string) {
	if value != "" && !userAndGroup.MatchString(value) {
		return fmt.Sprintf("%q is not a user", value), `as in "1000", "1000:1000" or www-data`
	}
	return "", ""
}

func checkPort(value string) (string, string) {
	if _, err := types.ParsePortConfig(value); err != nil {
		return fmt.Sprintf("%q is not a port mapping: %s", value, err),
			`as in "8080:80", "127.0.0.1:8080:80" or "53:53/udp"`
	}
	return "", ""
}

func checkPortNumber(value string) (string, string) {
	if n, err := strconv.Atoi(value); err != nil || n < 1 || n > 65535 {
		return fmt.Sprintf("%q is not a port", value), "a number from 1 to 65535"
	}
	return "", ""
}

func checkPortNumbers(value string) (string, string) {
	for _, part := range strings.SplitN(value, "-", 2) {
		if n, err := strconv.Atoi(part); err != nil || n < 0 || n > 65535 {
			return fmt.Sprintf("%q is not a port", value), "a number from 1 to 65535, or a range as 8000-8010"
		}
	}
	return "", ""
}

func checkProtocol(value string) (string, string) {
	switch strings.ToLower(value) {
	case "tcp", "udp", "sctp":
		return "", ""
	}
	return fmt.Sprintf("protocol %q is not known", value), "tcp or udp"
}

var exposed = regexp.MustCompile(`^(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?$`)

func checkExpose(value string) (string, string) {
	m := exposed.FindStringSubmatch(value)
	if m == nil {
		return fmt.Sprintf("%q is not a port", value), `as in "8080", "8080-8090" or "53/udp"`
	}
	for _, digits := range m[1:3] {
		if digits == "" {
			continue
		}
		if n, err := strconv.Atoi(digits); err != nil || n < 1 || n > 65535 {
			return fmt.Sprintf("%q is not a port", value), "ports go from 1 to 65535"
		}
	}
	return "", ""
}

func checkVolume(value string) (string, string) {
	v, err := format.ParseVolume(value)
	if err != nil {
		return fmt.Sprintf("%q is not a volume: %s", value, err), `as in "data:/var/lib/data" or "./conf:/etc/app:ro"`
	}
	if !strings.HasPrefix(v.Target, "/") {
		return fmt.Sprintf("the path in the container, %q, does not begin with a slash", v.Target), `as in "data:/var/lib/data"`
	}
	return "", ""
}

// checkWords checks a command written as a line. Its words are in no message: a password may be among them.
func checkWords(value string) (string, string) {
	if err := new(types.ShellCommand).DecodeMapstructure(value); err != nil {
		return "a quote or backslash in it has no end", `close it, or write a list, as in ["sh", "-c", "echo it's"]`
	}
	return "", ""
}

func checkImage(value string) (string, string) {
	if _, err := imageref.ParseAnyReference(value); err != nil && value != "" {
		return fmt.Sprintf("%q is not the name of an image", value), `as in "postgres:16" or "ghcr.io/acme/web:1.2", in lower case`
	}
	return "", ""
}

// capability is one that Linux has, as of 6.9.
var capability = regexp.MustCompile(`^(?i:(CAP_)?(ALL|AUDIT_(CONTROL|READ|WRITE)|BLOCK_SUSPEND|BPF|CHECKPOINT_RESTORE|CHOWN|DAC_(OVERRIDE|READ_SEARCH)|FOWNER|FSETID|` +
	`IPC_(LOCK|OWNER)|KILL|LEASE|LINUX_IMMUTABLE|MAC_(ADMIN|OVERRIDE)|MKNOD|NET_(ADMIN|BIND_SERVICE|BROADCAST|RAW)|PERFMON|SETFCAP|SETGID|SETPCAP|SETUID|` +
	`SYSLOG|SYS_(ADMIN|BOOT|CHROOT|MODULE|NICE|PACCT|PTRACE|RAWIO|RESOURCE|TIME|TTY_CONFIG)|WAKE_ALARM))$`)

func checkCapability(value string) (string, string) {
	if !capability.MatchString(value) {
		return fmt.Sprintf("%q is not a capability of Linux", value), "as in NET_ADMIN, or ALL"
	}
	return "", ""
}

func checkHost(value string) (string, string) {
	if _, err := types.NewHostsList([]string{value}); err != nil {
		return fmt.Sprintf("%q is not a host name and an address", value), `as in "db.example=10.0.0.5"`
	}
	return "", ""
}

func checkDuration(value string) (string, string) {
	if d, err := Duration(value); err != nil || d < 0 {
		return fmt.Sprintf("%q is not a duration", value), "as in 5s, 1m30s or 2h"
	}
	return "", ""
}

func checkCount(value string) (string, string) {
	if n, err := strconv.Atoi(value); err != nil || n < 0 {
		return fmt.Sprintf("%q is not a number of 0 or more", value), ""
	}
	return "", ""
}

func checkInteger(value string) (string, string) {
	if _, err := strconv.ParseInt(value, 10, 64); err != nil {
		return fmt.Sprintf("%q is not a number", value), ""
	}
	return "", ""
}

func checkDeviceCount(value string) (string, string) {
	if strings.EqualFold(value, "all") {
		return "", ""
	}
	if n, err := strconv.Atoi(value); err != nil || n < 0 {
		return fmt.Sprintf("%q is not a number of devices", value), "a number, or all"
	}
	return "", ""
}

func checkRatio(value string) (string, string) {
	if n, err := strconv.ParseFloat(value, 64); err != nil || n < 0 || n > 1 {
		return fmt.Sprintf("%q is not a ratio", value), "as in 0.1"
	}
	return "", ""
}

func checkFileMode(value string) (string, string) {
	if n, err := strconv.ParseUint(value, 0, 32); err != nil || n > 0o7777 {
		return fmt.Sprintf("%q is not a file mode", value), "as in 0440"
	}
	return "", ""
}

func checkSwap(value string) (string, string) {
	if value == "-1" {
		return "", ""
	}
	return checkBytes(value)
}

// checkWord is the check of a value that is one of some words.
func checkWord(words ...string) valueCheck {
	return func(value string) (string, string) {
		if value == "" || slices.Contains(words, value) {
			return "", ""
		}
		return fmt.Sprintf("%q is not one of %s", value, quoted(words)), didYouMean(value, words)
	}
}

func checkBoolean(value string) (string, string) {
	switch strings.ToLower(value) {
	case "true", "false", "yes", "no", "on", "off", "y", "n", "1", "0", "t", "f", "":
		return "", ""
	}
	return fmt.Sprintf("%q is not true or false", value), ""
}

func checkCron(value string) (string, string) {
	if strings.Contains(value, "TZ=") {
		return fmt.Sprintf("%q has a time zone in it", value), "write it as timezone:"
	}
	if _, err := cron.ParseStandard(value); err != nil {
		return fmt.Sprintf("%q is not a schedule", value), `minute, hour, day, month, weekday, as in "0 3 * * *", or @daily`
	}
	return "", ""
}

func checkTimezone(value string) (string, string) {
	if _, err := time.LoadLocation(value); err != nil || strings.EqualFold(value, "local") {
		return fmt.Sprintf("%q is not a time zone", value), "as in Europe/Paris or Etc/UTC"
	}
	return "", ""
}

func checkBytes(value string) (string, string) {
	if n, err := strconv.ParseInt(value, 10, 64); err == nil && n >= 0 {
		return "", ""
	}
	if n, err := units.RAMInBytes(value); err != nil || n < 0 {
		return fmt.Sprintf("%q is not a size", value), "as in 512m or 2g"
	}
	return "", ""
}

func checkCPUs(value string) (string, string) {
	if n, err := strconv.ParseFloat(value, 64); err != nil || n < 0 {
		return fmt.Sprintf("%q is not a number of CPUs", value), "as in 0.5 or 2"
	}
	return "", ""
}

var restartPolicy = regexp.MustCompile(`^(no|always|unless-stopped|on-failure(:\d+)?)$`)

func checkRestart(value string) (string, string) {
	if restartPolicy.MatchString(value) {
		return "", ""
	}
	if value == "false" {
		return "restart: no is false in YAML", `write restart: "no"`
	}
	return fmt.Sprintf("restart policy %q is not known", value), `"no", always, on-failure, on-failure:3 or unless-stopped`
}

var pullPolicy = regexp.MustCompile(`^(always|never|missing|if_not_present|build|refresh|daily|weekly|every_([0-9]+[wdhms])+)$`)

func checkPullPolicy(value string) (string, string) {
	if pullPolicy.MatchString(value) {
		return "", ""
	}
	return fmt.Sprintf("pull policy %q is not known", value), "always, never, missing, build, daily, weekly or every_12h"
}

func checkMode(value string) (string, string) {
	switch value {
	case "", "replicated", "global", "replicated-job", "global-job":
		return "", ""
	}
	return fmt.Sprintf("mode %q is not known", value), "replicated, global, replicated-job or global-job"
}
