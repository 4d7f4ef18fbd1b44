package compose

import (
	"strings"

	"go.yaml.in/yaml/v4"
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
		"networks.*":                carried().but("by NetworkPolicies, when services are on more than one network, or one is internal; perch's own node enforces them, elsewhere the cluster's network plugin must"),
		"networks.*.name":           carried().but("policies go by its key: a network is of one project"),
		"networks.*.driver":         refused("pods have the network of the cluster", "leave the driver out; network_mode: host or none of a service is carried").unless("bridge", "default", "overlay", "null"),
		"networks.*.driver_opts":    ignored("pods have the network of the cluster", ""),
		"networks.*.ipam":           ignored("addresses are given by the cluster", "address services by their names"),
		"networks.*.external":       partly("its policies let in pods of other projects that are on it too; names are not shared: services of other projects are reached as SERVICE.PROJECT", "address them by those names").whenTrueOrMap(),
		"networks.*.external.name":  carried(),
		"networks.*.internal":       carried().but("a service that is only on internal networks reaches nothing else"),
		"networks.*.enable_ipv4":    ignored("the cluster decides", "").unless("true"),
		"networks.*.enable_ipv6":    ignored("the cluster decides", "").whenTrue(),
		"networks.*.attachable":     carried(), // says only who may join by hand
		"networks.*.labels":         ignored("there is no object for a network: policies are of services", ""),
		"volumes":                   carried(),
		"volumes.*":                 carried(),
		"volumes.*.name":            carried(),
		"volumes.*.driver":          refused("volumes come from the cluster's storage class", "leave the driver out; driver_opts of type nfs or tmpfs, or with o: bind, need none").unless("local"),
		"volumes.*.driver_opts":     carried().but("size; type nfs with addr= in o; type none with o: bind, on perch's own node; type tmpfs; other types and options are refused, mount options that Kubernetes has no word for are told of"),
		"volumes.*.driver_opts.*":   carried(),
		"volumes.*.external":        partly("a claim of that name must be in the namespace before", "").whenTrueOrMap(),
		"volumes.*.external.name":   carried(),
		"volumes.*.labels":          carried().but("of the claim"),
		"volumes.*.labels.*":        carried(),
		"secrets":                   carried(),
		"secrets.*":                 carried(),
		"secrets.*.name":            carried(), // objects are named after their key and content; paths are not touched
		"secrets.*.environment":     carried(),
		"secrets.*.file":            carried(),
		"secrets.*.external":        partly("a Secret of that name must be in the namespace before, with the bytes under the key of the secret's name here", "").whenTrueOrMap(),
		"secrets.*.external.name":   carried(),
		"secrets.*.labels":          carried().but("of its Secret"),
		"secrets.*.labels.*":        carried(),
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
		"configs.*.labels":          carried().but("of its ConfigMap"),
		"configs.*.labels.*":        carried(),
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
		"services.*.environment":          carried().but("in a Secret what is sensitive by name or value, or named by x-perch.secrets"),
		"services.*.environment.*":        carried(),
		"services.*.extra_hosts":          carried().but("host-gateway for host.docker.internal on perch's own node only; others are left out with a warning"),
		"services.*.extra_hosts.*":        carried(),
		"services.*.group_add":            carried().but("names are looked up in the image"),
		"services.*.hostname":             carried().but("as a lower-case label: one with other characters is changed, and a warning says how"),
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
		"services.*.security_opt":      carried().but("no-new-privileges, seccomp:unconfined, apparmor:PROFILE, label:user|role|type|level:VALUE and label:disable; others are ignored with a warning"),
		"services.*.shm_size":          carried(),
		"services.*.secrets":           carried(),
		"services.*.secrets.[].source": carried(),
		"services.*.secrets.[].target": carried(),
		"services.*.secrets.[].uid":    partly("the file belongs to root", "its mode decides who can read it").unless("0"),
		"services.*.secrets.[].gid":    partly("the file belongs to root", "its mode decides who can read it").unless("0"),
		"services.*.secrets.[].mode":   carried(),
		"services.*.stop_grace_period": carried(),
		"services.*.stop_signal":       carried().but("by the runtime on perch's own node; elsewhere by a command before the stop, which the image needs /bin/sh for"),
		"services.*.tmpfs":             carried().but("size, mode, uid and gid; mode and owner by an init container, for which the image needs /bin/sh and the container root; other options are ignored with a warning"),
		"services.*.user":              carried().but("names are looked up in the image"),
		"services.*.working_dir":       carried(),
		"services.*.init":              carried().but("the containers of the pod share their processes, and the pod's own first process reaps them"),
	}
}

// platformRules are attributes that are about the host or the engine below.
func platformRules() Table {
	return Table{
		"services.*.blkio_config":           ignored("Kubernetes does not limit disks", ""),
		"services.*.cgroup":                 partly("host: with privileged: true only; else it is refused", "").inCode(),
		"services.*.cgroup_parent":          ignored("the kubelet decides", ""),
		"services.*.cpu_count":              carried().but("as cpus"),
		"services.*.cpu_percent":            ignored("it is for Windows", "write cpus:"),
		"services.*.cpu_shares":             carried().but("as a request, a tenth of a CPU for 1024, when none is reserved"),
		"services.*.cpu_quota":              carried().but("by cpu_period, as a limit, when cpus is not given"),
		"services.*.cpu_period":             carried(),
		"services.*.cpu_rt_period":          ignored("Kubernetes has no real-time CPU", ""),
		"services.*.cpu_rt_runtime":         ignored("Kubernetes has no real-time CPU", ""),
		"services.*.cpuset":                 ignored("which cores it is, the kubelet decides", "write cpus: for how many"),
		"services.*.credential_spec":        refused("it is for Windows", "leave it out, or run it outside of perch"),
		"services.*.device_cgroup_rules":    partly("with privileged: true, which allows all devices; else it is refused", "").inCode(),
		"services.*.devices":                partly("with privileged: true only, which allows them all; else it is refused, as is a device of a CDI vendor", "").inCode(),
		"services.*.devices.[].target":      carried(),
		"services.*.devices.[].source":      carried(),
		"services.*.devices.[].permissions": carried(),
		"services.*.domainname":             ignored("the cluster gives the domain", "address services by their names"),
		"services.*.gpus":                   partly("as a number of the device plugin's resource, nvidia.com/gpu or amd.com/gpu: all is one, and which ones is the plugin's choice", "").inCode(),
		"services.*.gpus.[].options":        ignored("device plugins take none", ""),
		"services.*.gpus.[].driver":         carried(),
		"services.*.gpus.[].device_ids":     carried(),
		"services.*.gpus.[].count":          carried(),
		"services.*.gpus.[].capabilities":   carried(),
		"services.*.ipc":                    carried().but("host is the node's; service:NAME is a container in the pod of NAME; shareable is private, since who shares is in the same pod"),
		"services.*.isolation":              ignored("it is for Windows", "").unless("default"),
		"services.*.logging":                ignored("logs are kept by the node", "read them with perch logs"),
		"services.*.mac_address":            ignored("addresses are given by the cluster", ""),
		"services.*.mem_swappiness":         ignored("how memory is swapped, the node decides", ""),
		"services.*.memswap_limit":          ignored("pods do not swap", ""),
		"services.*.models":                 refused("there is no model runner", "run the model server as a service and pass its address in environment:"),
		"services.*.oom_kill_disable":       ignored("Kubernetes kills what is over its memory limit", "raise the limit").whenTrue(),
		"services.*.oom_score_adj":          ignored("Kubernetes sets it from requests and limits", "reserve memory for what is to live longest"),
		"services.*.pid":                    carried().but("host is the node's; service:NAME is a container in the pod of NAME"),
		"services.*.pids_limit":             ignored("the kubelet has one limit for all pods of a node", ""),
		"services.*.pull_refresh_after":     ignored("an image that is there is not looked for again", ""),
		"services.*.runtime":                partly("the cluster must have a RuntimeClass of that name", "").unless("runc", "io.containerd.runc.v2"),
		"services.*.storage_opt":            partly("size is, as a limit; other options are ignored", "").inCode(),
		"services.*.sysctls":                partly("those that a pod has for itself; others are refused, and outside of perch's own node some must be allowed by the kubelet", "").inCode(),
		"services.*.sysctls.*":              carried(),
		"services.*.ulimits":                ignored("limits are those of the node's container runtime", "set them in the entrypoint with ulimit, as far down as need be").inCode(),
		"services.*.umask":                  ignored("Kubernetes has no word for it", "set it in the entrypoint"),
		"services.*.use_api_socket":         refused("there is no Docker Engine", "leave it out; what asks the engine must ask Kubernetes").whenTrue(),
		"services.*.uts":                    partly("host: with network_mode: host only; else it is refused", "").inCode(),
		"services.*.userns_mode":            ignored("the cluster decides", "").unless("host"),
	}
}

func storageRules() Table {
	return Table{
		"services.*.volumes":                          carried().but("named volumes as claims; tmpfs; anonymous ones with what the image has there; small project files as a copy, everything else of the machine as it is, on perch's own node only; docker.sock and its like are refused"),
		"services.*.volumes.[].type":                  carried().but("bind, volume, tmpfs, image; npipe and cluster are refused"),
		"services.*.volumes.[].source":                carried(),
		"services.*.volumes.[].target":                carried(),
		"services.*.volumes.[].read_only":             carried(),
		"services.*.volumes.[].consistency":           carried(), // a word for macOS; it never changed what is there
		"services.*.volumes.[].bind":                  carried(),
		"services.*.volumes.[].bind.propagation":      carried().but("of a path of the machine; shared needs privileged: true; a copy has none"),
		"services.*.volumes.[].bind.create_host_path": carried(),
		"services.*.volumes.[].bind.recursive":        ignored("mounts below a path are mounted too, as they are", "").unless("enabled", "writable", "readonly"),
		"services.*.volumes.[].bind.selinux":          carried(), // the runtime labels what it mounts
		"services.*.volumes.[].volume":                carried(),
		"services.*.volumes.[].volume.labels":         ignored("an anonymous volume is no object of its own", "give labels to the volume at the top level"),
		"services.*.volumes.[].volume.nocopy":         carried(),
		"services.*.volumes.[].volume.subpath":        carried(),
		"services.*.volumes.[].tmpfs":                 carried(),
		"services.*.volumes.[].tmpfs.size":            carried(),
		"services.*.volumes.[].tmpfs.mode":            carried().but("as for tmpfs"),
		"services.*.volumes.[].image":                 carried(),
		"services.*.volumes.[].image.subpath":         carried(),
		"services.*.volumes_from":                     carried().but("named volumes are mounted too; for anonymous ones it is a container in the pod of the other service"),
	}
}

func networkingRules() Table {
	addresses := "addresses are given by the cluster"
	return Table{
		"services.*.network_mode":                      carried().but("none is a policy that lets nothing through; host is the network of the node; service:NAME is a container in the pod of NAME; container:NAME is refused"),
		"services.*.networks":                          carried(),
		"services.*.networks.*":                        carried(),
		"services.*.networks.*.aliases":                carried().but("become Services; one that several services have names the first of them; one that Kubernetes has no such name for resolves on perch's own node, elsewhere a warning names who uses it"),
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
		"services.*.external_links":                    refused("containers outside of the project are not known by name", "address services of other projects as SERVICE.PROJECT in environment:, anything else in extra_hosts:"),
		"services.*.container_name":                    carried().but("becomes another Service, as an alias does"),
		"services.*.expose":                            carried(),
		"services.*.ports":                             carried().but("on 127.0.0.1; one without a published port is reached inside only"),
		"services.*.ports.[].name":                     carried(),
		"services.*.ports.[].mode":                     partly("the port answers on the host once, for all replicas", "").unless("ingress"),
		"services.*.ports.[].host_ip":                  carried(),
		"services.*.ports.[].target":                   carried(),
		"services.*.ports.[].published":                carried(),
		"services.*.ports.[].protocol":                 carried(),
		"services.*.ports.[].app_protocol":             carried(),
	}
}

func workloadRules() Table {
	return Table{
		"services.*.build":                      carried().but("a folder that is not there is told of when it is built"),
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
		p + "entitlements":          carried().but("network.host and security.insecure"),
		p + "args":                  carried(),
		p + "args.*":                carried(),
		p + "ssh":                   carried(),
		p + "ssh.*":                 carried(),
		p + "labels":                carried(),
		p + "labels.*":              carried(),
		p + "cache_from":            carried().but("registry, local and inline; the builder has no other kinds, and says so"),
		p + "cache_to":              carried().but("as cache_from"),
		p + "no_cache":              carried(),
		p + "no_cache_filter":       carried(),
		p + "additional_contexts":   carried(),
		p + "additional_contexts.*": carried(),
		p + "network":               carried().but("default, none and host"),
		p + "provenance":            carried(),
		p + "sbom":                  carried().but("needs the scanner's image"),
		p + "pull":                  carried(),
		p + "target":                carried(),
		p + "shm_size":              carried(),
		p + "extra_hosts":           carried().but("but for host-gateway"),
		p + "extra_hosts.*":         carried(),
		p + "isolation":             refused("it is for Windows", "leave it out").unless("default"),
		p + "privileged":            carried(),
		p + "secrets":               carried(),
		p + "secrets.[].source":     carried(),
		p + "secrets.[].target":     carried(),
		p + "secrets.[].uid":        ignored("the file belongs to root in the build", "").unless("0"),
		p + "secrets.[].gid":        ignored("the file belongs to root in the build", "").unless("0"),
		p + "secrets.[].mode":       ignored("the Dockerfile says it, in RUN --mount", ""),
		p + "tags":                  carried(),
		p + "ulimits":               carried(),
		p + "ulimits.*":             carried(),
		p + "ulimits.*.soft":        carried(),
		p + "ulimits.*.hard":        carried(),
		p + "platforms":             carried().but("the node's own must be among them, and is the one that is built"),
	}
}

func serviceRules() Table {
	return Table{
		"services.*.develop":                             carried().but("by perch watch and perch up --watch"),
		"services.*.develop.watch":                       carried(),
		"services.*.develop.watch.[].action":             carried(),
		"services.*.develop.watch.[].exec":               carried(),
		"services.*.develop.watch.[].exec.command":       carried(),
		"services.*.develop.watch.[].exec.environment":   carried(),
		"services.*.develop.watch.[].exec.environment.*": carried(),
		"services.*.develop.watch.[].ignore":             carried(),
		"services.*.develop.watch.[].include":            carried(),
		"services.*.develop.watch.[].initial_sync":       carried(),
		"services.*.develop.watch.[].path":               carried(),
		"services.*.develop.watch.[].target":             carried(),
		"services.*.develop.watch.[].exec.working_dir":   carried(),
		"services.*.develop.watch.[].exec.privileged":    partly("it runs with the rights of the container", "").whenTrue(),
		"services.*.develop.watch.[].exec.user":          partly("it runs as the user of the container", ""),
		"services.*.profiles":                            carried(),
		"services.*.restart":                             carried().but("no, where nothing makes the service a server (a port, a health check, one that waits for it), is a Job; every other service is started again whenever it ends, as Kubernetes does, and a warning says so"),
		"services.*.scale":                               carried(),
		"services.*.attach":                              ignored("logs are those that perch logs shows", "").unless("true"),
		"services.*.provider":                            refused("providers are plug-ins of Docker Compose", "run it as a service with an image, or pass the address of what it provides in environment:"),
		"services.*.extends":                             carried(),
		"services.*.extends.service":                     carried(),
		"services.*.extends.file":                        carried(),
		"services.*.post_start":                          carried().but("in one process with /bin/sh when there are several; the user and privileges are those of the container, others are refused"),
		"services.*.pre_stop":                            carried().but("as post_start, before the pod is taken out; part of stop_grace_period"),
		"services.*.deploy":                              carried(),

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
	limits := p + "resources.limits."
	reserved := p + "resources.reservations."
	return Table{
		p + "mode":                                               carried().but("replicated, global, replicated-job; global-job is one pod, which is all on perch's own node, and in part elsewhere"),
		p + "endpoint_mode":                                      carried().but("dnsrr is a headless Service"),
		p + "replicas":                                           carried(),
		p + "labels":                                             carried(),
		p + "labels.*":                                           carried(),
		p + "rollback_config":                                    ignored("perch rollback goes back as update_config goes forward", ""),
		p + "update_config":                                      carried(),
		p + "update_config.parallelism":                          carried(),
		p + "update_config.delay":                                carried().but("a new pod must be ready that long"),
		p + "update_config.failure_action":                       partly("a rollout that fails stops, and the old pods serve on; the rest is not replaced", "").unless("pause", "rollback"),
		p + "update_config.monitor":                              partly("a new pod must stay ready that long before the next one is replaced; one that fails later is not counted", ""),
		p + "update_config.max_failure_ratio":                    ignored("a rollout stops at the first pod that does not become ready", "").unless("0", "0.0"),
		p + "update_config.order":                                carried().but("start-first when it is not given; a service that writes to a named volume is stopped first unless start-first is given, which makes it a Deployment"),
		p + "resources":                                          carried(),
		p + "resources.limits":                                   carried(),
		limits + "cpus":                                          carried(),
		limits + "memory":                                        carried(),
		limits + "pids":                                          ignored("the kubelet has one limit for all pods of a node", ""),
		p + "resources.reservations":                             carried(),
		reserved + "cpus":                                        carried(),
		reserved + "memory":                                      carried(),
		reserved + "generic_resources":                           carried().but("kinds that device plugins have, as nvidia.com/gpu; others are refused"),
		reserved + "devices":                                     partly("as a number of the device plugin's resource, nvidia.com/gpu or amd.com/gpu: all is one, and which ones is the plugin's choice", "").inCode(),
		p + "restart_policy":                                     carried(),
		p + "restart_policy.condition":                           carried().but("as restart"),
		p + "restart_policy.delay":                               ignored("Kubernetes waits 10 s, then longer each time", ""),
		p + "restart_policy.max_attempts":                        carried().but("of a job; a service is started again for as long as it ends"),
		p + "restart_policy.window":                              ignored("Kubernetes counts a container as started for good after 10 minutes", ""),
		p + "placement":                                          carried(),
		p + "placement.constraints":                              carried().but("node.labels, node.hostname, node.role and node.platform; others are refused; a wish and no condition on perch's own node, which is the only one"),
		p + "placement.preferences":                              carried(),
		p + "placement.preferences.[].spread":                    carried().but("node.labels.NAME and node.hostname; others are ignored with a warning"),
		p + "placement.max_replicas_per_node":                    partly("1 keeps replicas on different nodes, where there are several; a greater number spreads them evenly", "").unless("0", "1"),
		reserved + "devices.[].capabilities":                     carried(),
		reserved + "devices.[].count":                            carried(),
		reserved + "devices.[].device_ids":                       carried(),
		reserved + "devices.[].driver":                           carried(),
		reserved + "devices.[].options":                          ignored("device plugins take none", ""),
		reserved + "generic_resources.[].discrete_resource_spec": carried(),
		reserved + "generic_resources.[].discrete_resource_spec.kind":  carried(),
		reserved + "generic_resources.[].discrete_resource_spec.value": carried(),
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
		"jobs.*.triggers.schedule.[].concurrency":  partly("Kubernetes lets one run wait, and no more", "").unless("forbid"),
		"jobs.*.triggers.schedule.[].missed_fires": carried(),
		"jobs.*.profiles":                          carried(),
		"jobs.*.ports":                             ignored("nothing connects to a job", "make it a service if something does"),
		"jobs.*.expose":                            ignored("nothing connects to a job", "make it a service if something does"),
		"jobs.*.healthcheck":                       ignored("a job is done when it ends", ""),
	}
}
