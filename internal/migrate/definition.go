package migrate

import (
	"slices"

	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

// oldDefinitions are the definitions of custom resources whose schema need not be structural, or be there at all.
func oldDefinitions() []kind {
	list := versions("apiextensions.k8s.io/v1beta1", "apiextensions.k8s.io/v1", "1.22", "CustomResourceDefinition")
	list[0].adapt = adaptDefinition
	list[0].moves = map[string]string{
		"spec.versions[].schema":                   "spec.validation",
		"spec.versions[].subresources":             "spec.subresources",
		"spec.versions[].additionalPrinterColumns": "spec.additionalPrinterColumns",
		"spec.conversion.webhook.clientConfig":     "spec.conversion.webhookClientConfig",
	}
	return list
}

// adaptDefinition gives every version the schema that v1 wants. Fields that no schema names were kept unless
// preserveUnknownFields was false; v1 takes that word no longer, but the schemas may say the same.
func adaptDefinition(old, converted runtime.Object) {
	before, ok := old.(*v1beta1.CustomResourceDefinition)
	after, isToo := converted.(*v1.CustomResourceDefinition)
	if !ok || !isToo {
		return
	}
	preserve := before.Spec.PreserveUnknownFields == nil || *before.Spec.PreserveUnknownFields
	after.Spec.PreserveUnknownFields = false
	for i := range after.Spec.Versions {
		version := &after.Spec.Versions[i]
		if version.Schema == nil || version.Schema.OpenAPIV3Schema == nil {
			version.Schema = &v1.CustomResourceValidation{OpenAPIV3Schema: &v1.JSONSchemaProps{Type: "object"}}
		}
		if preserve {
			loosen(version.Schema.OpenAPIV3Schema, true)
		}
	}
}

// loosen makes a schema structural where that can be done without another meaning, and lets it keep unknown fields at every
// level. What has no type may be anything; the root is always an object.
func loosen(s *v1.JSONSchemaProps, root bool) {
	switch {
	case s.Type != "" || s.XIntOrString:
	case root || s.AdditionalProperties != nil:
		s.Type = "object"
	case numberOrText(s.AnyOf):
		s.XIntOrString = true
	default:
		s.XPreserveUnknownFields = ptr.To(true)
	}
	if s.Type == "object" && s.AdditionalProperties == nil {
		s.XPreserveUnknownFields = ptr.To(true)
	}
	if s.Type == "array" && s.Items == nil {
		s.Items = &v1.JSONSchemaPropsOrArray{Schema: &v1.JSONSchemaProps{}}
	}
	for name, property := range s.Properties {
		loosen(&property, false)
		s.Properties[name] = property
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		loosen(s.AdditionalProperties.Schema, false)
	}
	if s.Items != nil && s.Items.Schema != nil {
		loosen(s.Items.Schema, false)
	}
}

// numberOrText tells of the one choice of types that a structural schema has a word for.
func numberOrText(anyOf []v1.JSONSchemaProps) bool {
	var types []string
	for _, one := range anyOf {
		types = append(types, one.Type)
	}
	return slices.Equal(types, []string{"integer", "string"})
}
