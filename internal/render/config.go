package render

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/compose-spec/compose-go/v2/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
)

// hash10 is the start of the hash of v's JSON: the part of a name that says what a thing holds.
func hash10(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("render: a value without JSON: %v", err)) // only maps, slices and strings come here
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])[:10]
}

// configMap is an immutable ConfigMap named by its content.
func (b *builder) configMap(base, of string, data map[string][]byte) *corev1.ConfigMap {
	m := &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: b.outside(hashed(base, data), of, "config"),
		Immutable:  new(true),
	}
	for name, value := range data {
		if utf8.Valid(value) {
			if m.Data == nil {
				m.Data = map[string]string{}
			}
			m.Data[name] = string(value)
			continue
		}
		if m.BinaryData == nil {
			m.BinaryData = map[string][]byte{}
		}
		m.BinaryData[name] = value
	}
	return m
}

// secret is an immutable Secret named by its content.
func (b *builder) secret(base, of string, data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: b.outside(hashed(base, data), of, "config"),
		Type:       corev1.SecretTypeOpaque,
		Immutable:  new(true),
		Data:       data,
	}
}

func hashed(base string, data map[string][]byte) string {
	return compose.NameWithin(base, 52) + "-" + hash10(data)
}

// environment splits the variables of a container into a ConfigMap and a Secret. Both are read by envFrom, so values
// are exact: Kubernetes expands $(NAME) only in env, command and args.
func (b *builder) environment(of string, env types.MappingWithEquals, x compose.ServiceExtension) ([]corev1.EnvFromSource, []runtime.Object) {
	open, hidden := map[string][]byte{}, map[string][]byte{}
	for name, value := range env {
		switch {
		case value == nil: // named without a value, and not set where Perch runs: Compose leaves it out
		case x.Sensitive(name, *value):
			hidden[name] = []byte(*value)
		default:
			open[name] = []byte(*value)
		}
	}
	var from []corev1.EnvFromSource
	var objects []runtime.Object
	if len(open) > 0 {
		m := b.configMap(compose.Name(of)+"-env", of, open)
		objects = append(objects, m)
		from = append(from, corev1.EnvFromSource{
			ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: m.Name}},
		})
	}
	if len(hidden) > 0 {
		s := b.secret(compose.Name(of)+"-secret-env", of, hidden)
		objects = append(objects, s)
		from = append(from, corev1.EnvFromSource{
			SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: s.Name}},
		})
	}
	return from, objects
}

// fromSecrets are the variables that have their value from a Secret which is there already: those that have none in env.
func fromSecrets(env types.MappingWithEquals, keys map[string]compose.SecretKey) []corev1.EnvVar {
	var all []corev1.EnvVar
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if value, there := env[name]; !there || value != nil {
			continue
		}
		all = append(all, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: keys[name].Secret}, Key: keys[name].Key,
		}}})
	}
	return all
}

// downward are variables that have the value of a field of their pod.
func downward(fields map[string]string) []corev1.EnvVar {
	var all []corev1.EnvVar
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		all = append(all, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{
			FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: fields[name]},
		}})
	}
	return all
}
