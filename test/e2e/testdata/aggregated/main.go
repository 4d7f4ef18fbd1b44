// Aggregated is an API of its own, for whoever asks through the API server: songs, which name who asked for them.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log"
	"math/big"
	"net/http"
	"os"
	"time"
)

const group, version = "songs.example.com", "v1"

type object map[string]any

func main() {
	ca, err := os.ReadFile("/front-proxy/ca.crt")
	if err != nil {
		log.Fatal(err)
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(ca) {
		log.Fatal("no certificate of the front proxy's authority")
	}
	server := http.Server{Addr: ":8443", Handler: api(), ReadHeaderTimeout: 5 * time.Second, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{certificate()}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert,
	}}
	log.Fatal(server.ListenAndServeTLS("", ""))
}

func api() http.Handler {
	mux := http.NewServeMux()
	answer := func(path string, make func(r *http.Request) object) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(make(r))
		})
	}
	root := "/apis/" + group + "/" + version
	answer("/apis/"+group, func(*http.Request) object {
		one := object{"groupVersion": group + "/" + version, "version": version}
		return object{"kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": []object{one}, "preferredVersion": one}
	})
	answer(root, func(*http.Request) object {
		return object{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group + "/" + version, "resources": []object{
			{"name": "songs", "singularName": "song", "kind": "Song", "namespaced": true, "verbs": []string{"get", "list"}},
		}}
	})
	answer(root+"/namespaces/{namespace}/songs", func(r *http.Request) object {
		return object{"kind": "SongList", "apiVersion": group + "/" + version, "metadata": object{}, "items": []object{song(r, "dawn")}}
	})
	answer(root+"/namespaces/{namespace}/songs/{name}", func(r *http.Request) object { return song(r, r.PathValue("name")) })
	return mux
}

func song(r *http.Request, name string) object {
	return object{
		"kind": "Song", "apiVersion": group + "/" + version,
		"metadata": object{"name": name, "namespace": r.PathValue("namespace")},
		"spec":     object{"asked": r.Header.Get("X-Remote-User")},
	}
}

// certificate is one that the APIService is told not to look at.
func certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
