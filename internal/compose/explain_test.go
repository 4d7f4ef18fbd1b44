package compose_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
)

// explained is a project with a verdict of every kind, and a mistake.
func explained(t *testing.T) string {
	t.Helper()
	return folder(t, map[string]string{
		"compose.yaml": `name: shop
services:
  web:
    image: x
    depends_on: [my.db]
    mac_address: "02:42:ac:11:65:43"
    environment:
      URL: http://my.db
    ports:
      - 8080:80
      - target: 81
        mode: host
    ulimits: {nofile: 10}
    init: true
    networks: [nowhere]
  my.db:
    image: x
    models: [llm]
    pull_policy: daily
`,
		"compose.override.yaml": "services:\n  my.db:\n    pull_policy: always\n",
	})
}

func TestExplain(t *testing.T) {
	t.Parallel()
	dir := explained(t)
	cases := map[string]string{
		"services.web.depends_on":       "services.web.depends_on compose.yaml:5 carried\n",
		"services.web.depends_on.my.db": "services.web.depends_on.my.db compose.yaml:5 carried\n",
		"services.web.mac_address":      "services.web.mac_address compose.yaml:6 ignored: addresses are given by the cluster\n",
		"services.web.environment.URL":  "services.web.environment.URL compose.yaml:8 carried: in a Secret what is sensitive by name or value, or named by x-perch.secrets\n",
		"services.web.ports[0]":         "services.web.ports[0] compose.yaml:10 carried: on 127.0.0.1; one without a published port is reached inside only\n",
		"services.web.ports.1": `services.web.ports[1].target compose.yaml:11 carried
services.web.ports[1].mode compose.yaml:12 in part: the port answers on the host once, for all replicas
`,
		"services.web.ulimits": `services.web.ulimits compose.yaml:13 ignored: limits are those of the node's container runtime
  lower it in the entrypoint with ulimit, if it must be lower
`,
		"services.web.networks": `services.web.networks compose.yaml:15 refused: service "web": network "nowhere" is not defined
  define it under networks: at the top level
`,
		"services.my.db": `services.my.db.image compose.yaml:17 carried
services.my.db.models compose.yaml:18 refused: there is no model runner
  run the model server as a service and pass its address in environment:
services.my.db.pull_policy compose.yaml:19 carried: compose.override.yaml:3 has another value
services.my.db.pull_policy compose.override.yaml:3 carried
`,
	}
	for path, want := range cases {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			all, err := compose.Explain(t.Context(), compose.Options{WorkingDir: dir}, path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, explanations(all)); diff != "" {
				t.Errorf("explanations (-want +got):\n%s", diff)
			}
		})
	}
}

func explanations(all []compose.Explanation) string {
	var b strings.Builder
	for _, e := range all {
		fmt.Fprintf(&b, "%s %s:%d %s", e.Path, e.File, e.Line, e.Verdict)
		if e.Note != "" {
			fmt.Fprintf(&b, ": %s", e.Note)
		}
		b.WriteString("\n")
		if e.Hint != "" {
			fmt.Fprintf(&b, "  %s\n", e.Hint)
		}
	}
	return b.String()
}

func TestExplainUnknown(t *testing.T) {
	t.Parallel()
	dir := explained(t)
	cases := map[string]string{
		"services.web.depend_on": "did you mean services.web.depends_on?",
		"services.wep.image":     "did you mean services.web?",
		"service.web":            "did you mean services?",
		"services.web.ports[7]":  "did you mean services.web.ports[0]?",
		"volumes.x":              "the file has name, services",
	}
	for path, want := range cases {
		_, err := compose.Explain(t.Context(), compose.Options{WorkingDir: dir}, path)
		if fault.KindOf(err) != fault.Usage || fault.HintOf(err) != want || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v with hint %q, want %q", path, err, fault.HintOf(err), want)
		}
	}
}
