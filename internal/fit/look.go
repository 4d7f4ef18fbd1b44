package fit

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/perch-k8s/perch/internal/kube"
)

const (
	atOnce    = 16  // requests on their way
	someNodes = 100 // of which a look is taken: what hundred nodes are, the others are too
)

// Seen is what a cluster offers, as far as this account may see it. A list that is nil could not be seen.
type Seen struct {
	user      string // as the API server knows this account; "" when it does not say
	version   version.Info
	kinds     map[schema.GroupVersionKind]bool
	unsure    []string // groups of the API that did not answer, as "GROUP/VERSION"
	namespace *corev1.Namespace
	absent    bool // the namespace is not there; with namespace nil and absent false it could not be seen
	denied    map[right]bool

	storage   []storagev1.StorageClass
	ingress   []networkingv1.IngressClass
	gateway   presence
	issuer    presence
	balancers balance
	priority  map[string]bool
	nodes     []corev1.Node
	quotas    []corev1.ResourceQuota
	ranges    []corev1.LimitRange
	claims    map[string]bool
	names     map[nameUse]presence
	live      []kube.Workload // only where there is a quota
}

// right is one thing to be allowed.
type right struct{ verb, group, resource string }

// presence is whether something is there.
type presence int

const (
	notSeen presence = iota
	isThere
	isAbsent
)

// balance is what is seen of Services of type LoadBalancer.
type balance struct{ known, given, waiting bool }

// Look asks the cluster. Its requests are on their way at once; an error is of kind fault.Unreachable, or is not about what this
// account may see.
func Look(ctx context.Context, c *kube.Client, n Needs) (Seen, error) {
	l := &look{client: c, needs: n, seen: Seen{denied: map[right]bool{}}}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, ask := range l.questions() {
		g.Go(func() error {
			if err := ask(ctx); err != nil && !kube.Forbidden(err) {
				return c.Explain(fmt.Errorf("what the cluster offers: %w", err))
			}
			return nil
		})
	}
	err := g.Wait()
	return l.seen, err
}

// look collects. Each question writes to a field of its own, but for those that are many.
type look struct {
	client *kube.Client
	needs  Needs
	mu     sync.Mutex // over seen.names and seen.denied
	seen   Seen
}

// questions are what is to be asked for these needs.
func (l *look) questions() []func(context.Context) error {
	all := []func(context.Context) error{l.askRights, l.askUser, l.askVersion, l.askKinds, l.askNamespace, l.askNodes, l.askQuotas, l.askRanges}
	n := l.needs
	if len(n.claims) > 0 {
		all = append(all, l.askStorage, l.askClaims)
	}
	if len(n.classes) > 0 {
		all = append(all, l.askIngress)
	}
	if len(n.balanced) > 0 {
		all = append(all, l.askBalancers)
	}
	if len(n.priority) > 0 {
		all = append(all, l.askPriority)
	}
	if n.gateway != "" {
		all = append(all, func(ctx context.Context) error {
			return l.askObject(ctx, &l.seen.gateway, gatewayOf(n.gateway, n.Namespace))
		})
	}
	if n.issuer != "" {
		all = append(all, func(ctx context.Context) error {
			return l.askObject(ctx, &l.seen.issuer, issuerOf(n.issuer))
		})
	}
	l.seen.names = map[nameUse]presence{}
	for _, one := range n.names {
		all = append(all, func(ctx context.Context) error { return l.askName(ctx, one) })
	}
	return all
}

// askRights asks for all that this account may do, and one by one for what that answer leaves open.
func (l *look) askRights(ctx context.Context) error {
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: l.needs.Namespace}}
	answer, err := l.client.Interface.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, review, metav1.CreateOptions{})
	whole := err == nil && !answer.Status.Incomplete
	if err != nil && !kube.Forbidden(err) && !apierrors.IsNotFound(err) {
		return err
	}
	if err != nil {
		answer = review
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, one := range rightsOf(l.needs.rights) {
		if granted(answer.Status.ResourceRules, one, l.needs.Namespace) {
			continue
		}
		g.Go(func() error {
			may, err := false, error(nil)
			if !whole {
				may, err = l.may(ctx, one)
			}
			if !may && err == nil {
				l.mu.Lock()
				l.seen.denied[one] = true
				l.mu.Unlock()
			}
			return err
		})
	}
	return g.Wait()
}

func (l *look) may(ctx context.Context, one right) (bool, error) {
	resource, sub, _ := strings.Cut(one.resource, "/")
	what := authorizationv1.ResourceAttributes{
		Namespace: l.needs.Namespace, Verb: one.verb, Group: one.group, Resource: resource, Subresource: sub,
	}
	if resource == "namespaces" {
		what.Name = l.needs.Namespace
	}
	return l.client.May(ctx, what)
}

func (l *look) askUser(ctx context.Context) error {
	answer, err := l.client.Interface.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return unless(err, apierrors.IsNotFound) // before Kubernetes 1.28
	}
	l.seen.user = answer.Status.UserInfo.Username
	return nil
}

// unless is nil for an error of a kind that says that there is nothing to be seen.
func unless(err error, is func(error) bool) error {
	if is(err) {
		return nil
	}
	return err
}

func (l *look) askVersion(context.Context) error {
	v, err := l.client.Discovery.ServerVersion()
	if err == nil {
		l.seen.version = *v
	}
	return err
}

func (l *look) askKinds(context.Context) (err error) {
	l.seen.kinds, l.seen.unsure, err = l.client.APIs()
	return err
}

// askNamespace sees the namespace, and whether this account may make it, or change it where that is Perch's.
func (l *look) askNamespace(ctx context.Context) error {
	n, err := l.client.Interface.CoreV1().Namespaces().Get(ctx, l.needs.Namespace, metav1.GetOptions{})
	what := authorizationv1.ResourceAttributes{Verb: "create", Resource: "namespaces"}
	switch {
	case err == nil:
		l.seen.namespace = n
		if _, _, own := kube.OwnSecurity(n); !own {
			return nil // what it enforces is left alone
		}
		what.Verb, what.Name, what.Namespace = "patch", n.Name, n.Name
	case apierrors.IsNotFound(err):
		l.seen.absent = true
	default:
		return err
	}
	may, err := l.client.May(ctx, what)
	if err == nil && !may {
		l.mu.Lock()
		l.seen.denied[right{what.Verb, "", "namespaces"}] = true
		l.mu.Unlock()
	}
	return err
}

func (l *look) askNodes(ctx context.Context) error {
	list, err := l.client.Interface.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: someNodes})
	if err == nil {
		l.seen.nodes = orEmpty(list.Items)
	}
	return err
}

// orEmpty is a list that was seen.
func orEmpty[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// askQuotas sees the quotas, and where there are some also what runs, which they count already.
func (l *look) askQuotas(ctx context.Context) error {
	list, err := l.client.Interface.CoreV1().ResourceQuotas(l.needs.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	l.seen.quotas = orEmpty(list.Items)
	if len(list.Items) == 0 {
		return nil
	}
	l.seen.live, err = l.client.Workloads(ctx, l.needs.Namespace, "")
	return err
}

func (l *look) askRanges(ctx context.Context) error {
	list, err := l.client.Interface.CoreV1().LimitRanges(l.needs.Namespace).List(ctx, metav1.ListOptions{})
	if err == nil {
		l.seen.ranges = orEmpty(list.Items)
	}
	return err
}

func (l *look) askStorage(ctx context.Context) error {
	list, err := l.client.Interface.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{})
	if err == nil {
		l.seen.storage = orEmpty(list.Items)
	}
	return err
}

func (l *look) askClaims(ctx context.Context) error {
	list, err := l.client.Interface.CoreV1().PersistentVolumeClaims(l.needs.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	l.seen.claims = map[string]bool{}
	for _, c := range list.Items {
		l.seen.claims[c.Name] = true
	}
	return nil
}

func (l *look) askIngress(ctx context.Context) error {
	list, err := l.client.Interface.NetworkingV1().IngressClasses().List(ctx, metav1.ListOptions{})
	if err == nil {
		l.seen.ingress = orEmpty(list.Items)
	}
	return err
}

func (l *look) askPriority(ctx context.Context) error {
	list, err := l.client.Interface.SchedulingV1().PriorityClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	l.seen.priority = map[string]bool{}
	for _, c := range list.Items {
		l.seen.priority[c.Name] = true
	}
	return nil
}

// askBalancers sees whether Services of type LoadBalancer get addresses here: of all namespaces, else of this one.
func (l *look) askBalancers(ctx context.Context) error {
	services := l.client.Interface.CoreV1().Services
	list, err := services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{Limit: 500})
	if kube.Forbidden(err) {
		list, err = services(l.needs.Namespace).List(ctx, metav1.ListOptions{})
	}
	if err != nil {
		return err
	}
	l.seen.balancers.known = true
	for _, s := range list.Items {
		if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
			given := len(s.Status.LoadBalancer.Ingress) > 0
			l.seen.balancers.given = l.seen.balancers.given || given
			l.seen.balancers.waiting = l.seen.balancers.waiting || !given
		}
	}
	return nil
}

// place is where an object of any kind is.
type place struct {
	resource        schema.GroupVersionResource
	namespace, name string
}

func (l *look) askObject(ctx context.Context, to *presence, at place) (err error) {
	if at.namespace == "" {
		_, err = l.client.Dynamic.Resource(at.resource).Get(ctx, at.name, metav1.GetOptions{})
	} else {
		_, err = l.client.Dynamic.Resource(at.resource).Namespace(at.namespace).Get(ctx, at.name, metav1.GetOptions{})
	}
	*to = seenBy(err)
	return unless(err, apierrors.IsNotFound)
}

func seenBy(err error) presence {
	switch {
	case err == nil:
		return isThere
	case apierrors.IsNotFound(err):
		return isAbsent
	}
	return notSeen
}

// askName sees whether an object that is read is there. A Secret that may be listed may be read too, as a rule.
func (l *look) askName(ctx context.Context, one nameUse) error {
	var found presence
	err := l.askObject(ctx, &found, place{schema.GroupVersionResource{Version: "v1", Resource: one.resource}, l.needs.Namespace, one.name})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen.names[one] = found
	return err
}
