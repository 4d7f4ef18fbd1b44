package migrate

import "maps"

// oldAutoscalers are the betas of autoscaling/v2. Kubernetes 1.26 was the last to have their types; what they become is told by
// the conversions of its pkg/apis/autoscaling/v2beta1 and v2beta2. Their defaults (one replica, 80 % of the CPU) are those of v2.
func oldAutoscalers() []kind {
	first := versions("autoscaling/v2beta1", "autoscaling/v2", "1.25", "HorizontalPodAutoscaler")
	first[0].rewrite = func(object map[string]any) error {
		metrics, _ := valueAt(object, "spec", "metrics").([]any)
		for _, m := range metrics {
			if metric, ok := m.(map[string]any); ok {
				renameMetric(metric)
			}
		}
		return nil
	}
	second := versions("autoscaling/v2beta2", "autoscaling/v2", "1.26", "HorizontalPodAutoscaler")
	second[0].rewrite = func(map[string]any) error { return nil } // the fields are the same
	return append(first, second...)
}

// renameMetric makes a metric of v2beta1 one of v2, where each has a target and most have a metric of their own.
func renameMetric(metric map[string]any) {
	for source, rename := range map[string]func(old, now map[string]any){
		"resource":          func(old, now map[string]any) { move(now, "target", utilization(old)) },
		"containerResource": func(old, now map[string]any) { move(now, "target", utilization(old)) },
		"pods": func(old, now map[string]any) {
			move(now, "metric", named(old, "selector"))
			move(now, "target", aim(old, "AverageValue", "averageValue", "targetAverageValue"))
		},
		"object": func(old, now map[string]any) {
			move(now, "describedObject", take(old, "target"))
			move(now, "metric", named(old, "selector"))
			value := take(old, "targetValue") // required, and of no meaning beside an average
			if average := aim(old, "AverageValue", "averageValue", "averageValue"); average != nil {
				move(now, "target", average)
				return
			}
			move(now, "target", map[string]any{"type": "Value", "value": value})
		},
		"external": func(old, now map[string]any) {
			move(now, "metric", named(old, "metricSelector"))
			if value := aim(old, "Value", "value", "targetValue"); value != nil {
				move(now, "target", value)
			}
			if average := aim(old, "AverageValue", "averageValue", "targetAverageValue"); average != nil {
				move(now, "target", average)
			}
		},
	} {
		old, ok := metric[source].(map[string]any)
		if !ok {
			continue
		}
		now := map[string]any{}
		rename(old, now)
		maps.Copy(now, old) // what has kept its name, and what no version knows
		metric[source] = now
	}
}

// utilization is the target of a resource's metric.
func utilization(old map[string]any) map[string]any {
	value := aim(old, "AverageValue", "averageValue", "targetAverageValue")
	if percent := aim(old, "Utilization", "averageUtilization", "targetAverageUtilization"); percent != nil {
		return percent
	}
	return value
}

// aim is a target of that type, nil when the old field is not there.
func aim(old map[string]any, kind, field, oldField string) map[string]any {
	value := take(old, oldField)
	if value == nil {
		return nil
	}
	return map[string]any{"type": kind, field: value}
}

// named is the metric's identity.
func named(old map[string]any, selector string) map[string]any {
	now := map[string]any{}
	move(now, "name", take(old, "metricName"))
	move(now, "selector", take(old, selector))
	return now
}

// take removes a field and returns its value.
func take(m map[string]any, key string) any {
	value := m[key]
	delete(m, key)
	return value
}

// move sets a field that there is something for.
func move(to map[string]any, key string, value any) {
	if m, ok := value.(map[string]any); value == nil || ok && m == nil {
		return
	}
	to[key] = value
}
