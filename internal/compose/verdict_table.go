package compose

import (
	"strings"

	"go.yaml.in/yaml/v4"
)

const (
	noHost     = "containers here have no host of their own to share with"
	buildLater = "the builder of this version does not take it"
)

func projectRules() Table {
	driver := "Kubernetes keeps it by itself; there is no driver to choose"
	return Table{
		"version":                      carried(),
		"name":                         carried(),
		"include":                      carried(),
		"include.[].path":              carried(),
		"include.[].env_file":          carried(),
		"include.[].project_directory": carried(),
		"services":                     carried(),
		"services.*":                   carried(),
		"models":                       refused("there is no model runner", "run the model server as a service and pass its address in environment:"),
		"jobs":                         carried(),
		"jobs.*":                       carried(),

		"networks":                  carried(),
		"networks.*":                carried(),
		"networks.*.name":           ignored("all services of the project share the network of its namespace", ""),
		"networks.*.driver":         refused("there is one network, that of the cluster", "leave the driver out").unless("bridge", "default", "overlay"),
		"networks.*.driver_opts":    ignored("there is one network, that of the cluster", ""),
		"networks.*.ipam":           ignored("addresses are given by the cluster", "address services by their names"),
		"networks.*.external":       ignored("services of other projects are reached as SERVICE.PROJECT", "address them by those names").whenTrueOrMap(),
		"networks.*.external.name":  ignored("services of other projects are reached as SERVICE.PROJECT", ""),
		"networks.*.internal":       ignored("isolation is not enforced yet: every service reaches the outside", "").whenTrue(),
		"networks.*.enable_ipv4":    ignored("the cluster decides", "").unless("true"),
		"networks.*.enable_ipv6":    ignored("the cluster decides", "").whenTrue(),
		"networks.*.attachable":     carried(), // says only who may join by hand
		"networks.*.labels":         ignored("there is no object for a network", ""),
		"volumes":                   carried(),
		"volumes.*":                 carried(),
		"volumes.*.name":            carried(),
		"volumes.*.driver":          refused("volumes come from the cluster's storage class", "leave the driver out").unless("local"),
		"volumes.*.driver_opts":     carried().but("size only; others are refused"),
		"volumes.*.driver_opts.*":   carried(),
		"volumes.*.external":        partly("a claim of that name must be in the namespace before", "").whenTrueOrMap(),
		"volumes.*.external.name":   carried(),
		"volumes.*.labels":          ignored("labels of volumes are not carried yet", ""),
		"volumes.*.labels.*":        carried(),
		"secrets":                   carried(),
		"secrets.*":                 carried(),
		"secrets.*.name":            carried(), // objects are named after their key and content; paths are not touched
		"secrets.*.environment":     carried(),
		"secrets.*.file":            carried(),
		"secrets.*.external":        partly("a Secret of that name must be in the namespace before, with the bytes under the key of the secret's name here", "").whenTrueOrMap(),
		"secrets.*.external.name":   carried(),
		"secrets.*.labels":          ignored("labels of secrets are not carried yet", ""),
		"secrets.*.driver":          refused(driver, "give it with file: or environment:"),
		"secrets.*.driver_opts":     refused(driver, "give it with file: or environment:"),
		"secrets.*.template_driver": refused("templates are not filled in", "write the content out"),
		"configs":                   carried(),
		"configs.*":                 carried(),
		"configs.*.name":            carried(),
		"configs.*.content":         carried(),
		"configs.*.environment":     carried(),
		"configs.*.file":            carried(),
		"configs.*.external":        partly("a ConfigMap of that name must be in the namespace before, with the bytes under the key of the config's name here", "").whenTrueOrMap(),
		"configs.*.external.name":   carried(),
		"configs.*.labels":          ignored("labels of configs are not carried yet", ""),
		"configs.*.template_driver": refused("templates are not filled in", "write the content out"),
	}
}

// whenTrueOrMap is r for true, and for the old form with a mapping.
func (r Rule) whenTrueOrMap() Rule {
	isTrue := r.whenTrue().when
	r.when = func(value string, n *yaml.Node) bool { return n.Kind == yaml.MappingNode || isTrue(value, n) }
	return r
}

func containerRules() Table {
	return Table{
		"services.*.annotations":          carried(),
		"services.*.annotations.*":        carried(),
		"services.*.cap_add":              carried(),
		"services.*.cap_drop":             carried(),
		"services.*.command":              carried(),
		"services.*.configs":              carried(),
		"services.*.configs.[].source":    carried(),
		"services.*.configs.[].target":    carried(),
		"services.*.configs.[].uid":       partly("the file belongs to root", "its mode decides who can read it").unless("0"),
		"services.*.configs.[].gid":       partly("the file belongs to root", "its mode decides who can read it").unless("0"),
		"services.*.configs.[].mode":      carried(),
		"services.*.cpus":                 carried(),
		"services.*.dns":                  partly("the cluster's own DNS is asked first", ""),
		"services.*.dns_opt":              carried(),
		"services.*.dns_search":           carried(),
		"services.*.entrypoint":           carried(),
		"services.*.env_file":             carried(),
		"services.*.env_file.[].path":     carried(),
		"services.*.env_file.[].format":   carried(),
		"services.*.env_file.[].required": carried(),
		"services.*.label_file":           carried(),
		"services.*.environment":          carried(),
		"services.*.environment.*":        carried(),
		"services.*.extra_hosts":          carried().but("host-gateway is left out with a warning"),
		"services.*.extra_hosts.*":        carried(),
		"services.*.group_add":            carried().but("names are looked up in the image"),
		"services.*.hostname":             carried().but("a lower-case label"),
		"services.*.image":                carried(),
		"services.*.labels":               carried().but("as labels where Kubernetes allows them, else as annotations"),
		"services.*.labels.*":             carried(),
		"services.*.mem_limit":            carried(),
		"services.*.mem_reservation":      carried(),
		"services.*.platform":             carried(),
		"services.*.privileged":           carried(),
		"services.*.pull_policy": partly("an image that is there is not looked for again", "pull with perch up --pull always").
			on(func(v string) bool {
				return v == "daily" || v == "weekly" || v == "refresh" || strings.HasPrefix(v, "every_")
			}),
		"services.*.read_only":         carried(),
		"services.*.security_opt":      carried().but("no-new-privileges and seccomp:unconfined; others are ignored with a warning"),
		"services.*.shm_size":          carried(),
		"services.*.secrets":           carried(),
		"services.*.secrets.[].source": carried(),
		"services.*.secrets.[].target": carried(),
		"services.*.secrets.[].uid":    partly("the file belongs to root", "its mode decides who can read it").unless("0"),
		"services.*.secrets.[].gid":    partly("the file belongs to root", "its mode decides who can read it").unless("0"),
		"services.*.secrets.[].mode":   carried(),
		"services.*.stop_grace_period": carried(),
		"services.*.stop_signal":       partly("Kubernetes sends the STOPSIGNAL of the image, or SIGTERM", "set STOPSIGNAL in the Dockerfile").unless("SIGTERM", "TERM", "15"),
		"services.*.tmpfs":             carried().but("size is; other options are ignored with a warning"),
		"services.*.user":              carried().but("names are looked up in the image"),
		"services.*.working_dir":       carried(),
		"services.*.init":              ignored("a process in the container must reap its own children", "use tini or dumb-init as ENTRYPOINT if the application leaves zombies").whenTrue(),
	}
}

// platformRules are attributes that are about the host or the engine below.
func platformRules() Table {
	limits := "Kubernetes limits CPU and memory only"
	kernel := "the cluster decides"
	return Table{
		"services.*.blkio_config":        ignored(limits, ""),
		"services.*.cgroup":              refused(noHost, "leave it out").unless("private"),
		"services.*.cgroup_parent":       ignored("the kubelet decides", ""),
		"services.*.cpu_count":           ignored(limits, "write cpus:"),
		"services.*.cpu_percent":         ignored(limits, "write cpus:"),
		"services.*.cpu_shares":          ignored(limits, "write deploy.resources.reservations.cpus"),
		"services.*.cpu_quota":           ignored(limits, "write cpus:"),
		"services.*.cpu_period":          ignored(limits, "write cpus:"),
		"services.*.cpu_rt_period":       ignored(limits, ""),
		"services.*.cpu_rt_runtime":      ignored(limits, ""),
		"services.*.cpuset":              ignored(limits, "write cpus:"),
		"services.*.credential_spec":     refused("it is for Windows", "leave it out"),
		"services.*.device_cgroup_rules": refused("devices of the host are not carried", "leave it out, or run it outside of perch"),
		"services.*.devices":             refused("devices of the host are not carried", "leave it out, or run it outside of perch"),
		"services.*.domainname":          ignored("the cluster gives the domain", ""),
		"services.*.gpus":                refused("GPUs are not carried yet", "leave it out, or run it outside of perch"),
		"services.*.ipc":                 carried(),
		"services.*.isolation":           ignored("it is for Windows", "").unless("default"),
		"services.*.logging":             ignored("logs are kept by the node", "read them with perch logs"),
		"services.*.mac_address":         ignored("addresses are given by the cluster", ""),
		"services.*.mem_swappiness":      ignored(limits, ""),
		"services.*.memswap_limit":       ignored("pods do not swap", ""),
		"services.*.models":              refused("there is no model runner", "run the model server as a service and pass its address in environment:"),
		"services.*.oom_kill_disable":    ignored("Kubernetes kills what is over its memory limit", "raise the limit").whenTrue(),
		"services.*.oom_score_adj":       ignored("Kubernetes sets it from requests and limits", ""),
		"services.*.pid":                 carried(),
		"services.*.pids_limit":          ignored("the kubelet decides", ""),
		"services.*.pull_refresh_after":  ignored("an image that is there is not looked for again", ""),
		"services.*.runtime":             partly("the cluster must have a RuntimeClass of that name", "").unless("runc", "io.containerd.runc.v2"),
		"services.*.storage_opt":         ignored(limits, ""),
		"services.*.sysctls":             ignored("kernel settings of pods are not carried yet", ""),
		"services.*.ulimits":             ignored("limits are those of the node", ""),
		"services.*.umask":               ignored("Kubernetes has no word for it", "set it in the entrypoint"),
		"services.*.use_api_socket":      refused("there is no Docker Engine", "talk to Kubernetes instead"),
		"services.*.uts":                 refused(noHost, "leave it out"),
		"services.*.userns_mode":         ignored(kernel, ""),
	}
}

func storageRules() Table {
	return Table{
		"services.*.volumes":                          carried().but("named volumes as claims, tmpfs, anonymous ones empty, bind mounts of project files up to 1 MiB as a read-only copy; docker.sock, folders outside of the project and bigger ones are refused"),
		"services.*.volumes.[].type":                  carried(),
		"services.*.volumes.[].source":                carried(),
		"services.*.volumes.[].target":                carried(),
		"services.*.volumes.[].read_only":             carried(),
		"services.*.volumes.[].consistency":           carried(), // a word for macOS; it never changed what is there
		"services.*.volumes.[].bind":                  carried(),
		"services.*.volumes.[].bind.propagation":      ignored("what is mounted is a copy", ""),
		"services.*.volumes.[].bind.create_host_path": carried(),
		"services.*.volumes.[].bind.recursive":        ignored("what is mounted is a copy", ""),
		"services.*.volumes.[].bind.selinux":          carried(), // the runtime labels what it mounts
		"services.*.volumes.[].volume":                carried(),
		"services.*.volumes.[].volume.labels":         ignored("labels of volumes are not carried yet", ""),
		"services.*.volumes.[].volume.nocopy":         carried(),
		"services.*.volumes.[].volume.subpath":        carried(),
		"services.*.volumes.[].tmpfs":                 carried(),
		"services.*.volumes.[].tmpfs.size":            carried(),
		"services.*.volumes.[].tmpfs.mode":            ignored("the folder may be written by all", ""),
		"services.*.volumes.[].image":                 refused("images are not mounted as volumes yet", "copy what is needed in the Dockerfile with COPY --from"),
		"services.*.volumes_from":                     carried(),
	}
}

func networkingRules() Table {
	addresses := "addresses are given by the cluster"
	return Table{
		"services.*.network_mode":                      carried(),
		"services.*.networks":                          carried().but("services of all networks reach each other for now"),
		"services.*.networks.*":                        carried(),
		"services.*.networks.*.aliases":                carried().but("become Services where they are valid names"),
		"services.*.networks.*.interface_name":         ignored("a pod has one interface, eth0", "").unless("eth0"),
		"services.*.networks.*.ipv4_address":           ignored(addresses, "address the service by its name"),
		"services.*.networks.*.ipv6_address":           ignored(addresses, "address the service by its name"),
		"services.*.networks.*.link_local_ips":         ignored(addresses, ""),
		"services.*.networks.*.mac_address":            ignored(addresses, ""),
		"services.*.networks.*.driver_opts":            ignored("there is one network, that of the cluster", ""),
		"services.*.networks.*.driver_opts.*":          carried(),
		"services.*.networks.*.priority":               carried(), // there is one network
		"services.*.networks.*.gw_priority":            carried(),
		"services.*.networks.*.use_service_name_alias": ignored("a service always has its own name", "").unless("true"),
		"services.*.links":                             carried().but("aliases become Services"),
		"services.*.external_links":                    refused("containers outside of the project are not known by name", "write its address in environment: or extra_hosts:"),
		"services.*.container_name":                    carried().but("becomes another Service where it is a valid name"),
		"services.*.expose":                            carried(),
		"services.*.ports":                             carried().but("on 127.0.0.1; one without a published port is reached inside only"),
		"services.*.ports.[].name":                     carried(),
		"services.*.ports.[].mode":                     ignored("every published port answers on the host once, for all replicas", "").unless("ingress"),
		"services.*.ports.[].host_ip":                  carried(),
		"services.*.ports.[].target":                   carried(),
		"services.*.ports.[].published":                carried(),
		"services.*.ports.[].protocol":                 carried(),
		"services.*.ports.[].app_protocol":             carried(),
	}
}

func workloadRules() Table {
	return Table{
		"services.*.build":                      carried(),
		"services.*.depends_on":                 carried(),
		"services.*.depends_on.*":               carried(),
		"services.*.depends_on.*.restart":       carried(),
		"services.*.depends_on.*.required":      carried(),
		"services.*.depends_on.*.condition":     carried(),
		"services.*.healthcheck":                carried().but("as readiness and startup probes; a container is not restarted for its health unless x-perch says so"),
		"services.*.healthcheck.disable":        carried(),
		"services.*.healthcheck.interval":       carried(),
		"services.*.healthcheck.retries":        carried(),
		"services.*.healthcheck.test":           carried(),
		"services.*.healthcheck.timeout":        carried(),
		"services.*.healthcheck.start_period":   carried(),
		"services.*.healthcheck.start_interval": carried(),
		"services.*.stdin_open":                 carried(),
		"services.*.tty":                        carried(),
	}
}

func buildRules() Table {
	p := "services.*.build."
	return Table{
		p + "context":               carried(),
		p + "dockerfile":            carried(),
		p + "dockerfile_inline":     carried(),
		p + "entitlements":          refused(buildLater, "leave it out"),
		p + "args":                  carried(),
		p + "args.*":                carried(),
		p + "ssh":                   refused(buildLater, "pass what the build needs in secrets:"),
		p + "labels":                carried(),
		p + "labels.*":              carried(),
		p + "cache_from":            ignored("the builder keeps its own cache", ""),
		p + "cache_to":              ignored("the builder keeps its own cache", ""),
		p + "no_cache":              carried(),
		p + "no_cache_filter":       ignored(buildLater, "write no_cache: true"),
		p + "additional_contexts":   carried(),
		p + "additional_contexts.*": carried(),
		p + "network":               ignored("the build has the builder's network", "").unless("default"),
		p + "provenance":            ignored("no attestations are made", "").unless("false"),
		p + "sbom":                  ignored("no attestations are made", "").unless("false"),
		p + "pull":                  carried(),
		p + "target":                carried(),
		p + "shm_size":              ignored(buildLater, ""),
		p + "extra_hosts":           ignored(buildLater, ""),
		p + "isolation":             ignored("it is for Windows", "").unless("default"),
		p + "privileged":            refused(buildLater, "leave it out").whenTrue(),
		p + "secrets":               carried(),
		p + "secrets.[].source":     carried(),
		p + "secrets.[].target":     carried(),
		p + "secrets.[].uid":        ignored("the file belongs to root in the build", "").unless("0"),
		p + "secrets.[].gid":        ignored("the file belongs to root in the build", "").unless("0"),
		p + "secrets.[].mode":       ignored("the Dockerfile says it, in RUN --mount", ""),
		p + "tags":                  ignored("the image is tagged with the git commit", ""),
		p + "ulimits":               ignored(buildLater, ""),
		p + "platforms":             ignored("the image is built for the node's platform", ""),
	}
}

func serviceRules() Table {
	return Table{
		"services.*.develop":         ignored("perch watch is not there yet", "run perch up after a change"),
		"services.*.profiles":        carried(),
		"services.*.restart":         carried().but("Kubernetes starts a service again whenever it ends, but for one that another waits for to end: that is a Job"),
		"services.*.scale":           carried(),
		"services.*.attach":          ignored("logs are those that perch logs shows", "").unless("true"),
		"services.*.provider":        refused("providers are Docker Compose's plug-ins", "run it as a service with an image"),
		"services.*.extends":         carried(),
		"services.*.extends.service": carried(),
		"services.*.extends.file":    carried(),
		"services.*.post_start":      carried(),
		"services.*.pre_stop":        carried(),
		"services.*.deploy":          carried(),

		"services.*.post_start.[].command":       carried(),
		"services.*.post_start.[].environment":   carried(),
		"services.*.post_start.[].environment.*": carried(),
		"services.*.post_start.[].privileged":    carried(),
		"services.*.post_start.[].user":          carried(),
		"services.*.post_start.[].working_dir":   carried(),
		"services.*.pre_stop.[].command":         carried(),
		"services.*.pre_stop.[].environment":     carried(),
		"services.*.pre_stop.[].environment.*":   carried(),
		"services.*.pre_stop.[].privileged":      carried(),
		"services.*.pre_stop.[].user":            carried(),
		"services.*.pre_stop.[].working_dir":     carried(),
	}
}

func deployRules() Table {
	p := "services.*.deploy."
	rollback := "perch rollback is not there yet; helm rollback goes back at once"
	limits := p + "resources.limits."
	reserved := p + "resources.reservations."
	return Table{
		p + "mode":                            carried().but("replicated, global, replicated-job; global-job is refused"),
		p + "endpoint_mode":                   ignored("SERVICE-pods has the addresses of all replicas", "write x-perch.headless: true").unless("vip"),
		p + "replicas":                        carried(),
		p + "labels":                          carried(),
		p + "labels.*":                        carried(),
		p + "rollback_config":                 ignored(rollback, ""),
		p + "update_config":                   carried(),
		p + "update_config.parallelism":       carried(),
		p + "update_config.delay":             carried().but("a new pod must be ready that long"),
		p + "update_config.failure_action":    partly("a rollout that fails stops; the old pods serve on", "").unless("pause"),
		p + "update_config.monitor":           ignored("a rollout is watched until its pods are ready", ""),
		p + "update_config.max_failure_ratio": ignored("a rollout stops at the first pod that does not become ready", "").unless("0"),
		p + "update_config.order":             carried().but("start-first when it is not given"),
		p + "resources":                       carried(),
		p + "resources.limits":                carried(),
		limits + "cpus":                       carried(),
		limits + "memory":                     carried(),
		limits + "pids":                       ignored("the kubelet decides", ""),
		p + "resources.reservations":          carried(),
		reserved + "cpus":                     carried(),
		reserved + "memory":                   carried(),
		reserved + "generic_resources":        refused("devices of the host are not carried", "leave it out"),
		reserved + "devices":                  refused("devices of the host are not carried", "leave it out"),
		p + "restart_policy":                  carried(),
		p + "restart_policy.condition":        carried().but("as restart"),
		p + "restart_policy.delay":            ignored("Kubernetes waits 10 s, then longer each time", ""),
		p + "restart_policy.max_attempts":     carried(),
		p + "restart_policy.window":           ignored("Kubernetes waits 10 s, then longer each time", ""),
		p + "placement":                       ignored("the scheduler decides", ""),
	}
}

func hookRules() Table {
	return Table{
		"services.*.pre_start":     carried(),
		hookPrefix + "per_replica": carried(),
		hookPrefix + "networks":    carried(),
		hookPrefix + "networks.*":  carried(),
		hookPrefix + "stop_signal": carried(), // it runs to its end
		hookPrefix + "pull_policy": carried(),
	}
}

func jobRules() Table {
	return Table{
		"jobs.*.triggers":                          carried(),
		"jobs.*.triggers.manual":                   carried(),
		"jobs.*.triggers.schedule":                 carried(),
		"jobs.*.triggers.schedule.[].cron":         carried(),
		"jobs.*.triggers.schedule.[].timezone":     carried(),
		"jobs.*.triggers.schedule.[].concurrency":  partly("a run that would start during another is left out", "").unless("forbid"),
		"jobs.*.triggers.schedule.[].missed_fires": carried(),
		"jobs.*.profiles":                          carried(),
		"jobs.*.ports":                             ignored("nothing connects to a job", "make it a service if something does"),
		"jobs.*.expose":                            ignored("nothing connects to a job", "make it a service if something does"),
		"jobs.*.healthcheck":                       ignored("a job is done when it ends", ""),
	}
}
