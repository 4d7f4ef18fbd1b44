package compose

import (
	"strings"
	"testing"
)

func TestSensitive(t *testing.T) {
	t.Parallel()
	secret := []string{
		// by name
		"POSTGRES_PASSWORD=", "PGPASSWORD=", "API_KEY=", "JWT_SECRET=", "GITHUB_TOKEN=", "SENTRY_DSN=", "DB_PASS=", "AWS_SECRET_ACCESS_KEY=",
		"awsCredentials=", "db.password=x", "spring.datasource.password=x", "ROOT_PWD=x", "JWT=x", "dbPassword=x", "APIKEY=x", "SSH_PASSPHRASE=x",
		"MY_SECRET_2=x", "private-key=x",
		// URLs
		"U=postgres://app:pw@db/app", "U=redis://:pw@redis:6379", "U=postgres://app:p%w@db/app", "U=postgres://app:p/w@db/app", "U=postgres://app:p@w@db/app",
		"U=jdbc:postgresql://db/app?password=pw", "U=jdbc:postgresql://db/app?user=a&password=pw&ssl=true", "U=jdbc:mysql://root:pw@db:3306/x",
		"U=amqp://guest:guest@mq:5672/%2f", "U=mongodb+srv://u:p@cluster0.mongodb.net/x?retryWrites=true", "U=mongodb://u:p@a:1,b:2/x",
		"U=http://proxy:3128 https://u:p@proxy:3129", "U=nats://a:b@n1:4222,nats://a:b@n2:4222", "U=smtp://user:p#w@mail:587",
		"U=https://0123456789abcdef0123456789abcdef@sentry.io/1", "U=https://x/?access_token=abc", "U=https://x/?api_key=abc",
		"U=mssql+pyodbc://sa:Str0ng!@db/x", "U=sqlserver://sa@db;password=x", "U=https://hooks.slack.com/services/T0/B0/x",
		"U=postgres://app:1234@db/app", "U=https://account.blob.core.windows.net/c?sv=1&sig=abc",
		// without a scheme
		"U=user:pass@host", "U=user:pass@tcp(db:3306)/app", "U=root:@ss@db", "U=jdbc:oracle:thin:scott/tiger@//db:1521/x", "U=jdbc:oracle:thin:scott/tiger@db:1521:x", "U=admin:pa:ss@10.0.0.1:5432/x",
		// settings
		"CONN=Server=db;Password=pw", "CONN=Server=db;User Id=sa;Pwd=pw;", "CONN=host=db password=pw dbname=x", "CONN=host=db password='pw'",
		"CONN=DefaultEndpointsProtocol=https;AccountName=a;AccountKey=abc==", "CONN=Endpoint=sb://x/;SharedAccessKeyName=k;SharedAccessKey=abc",
		"JAVA_OPTS=-Xmx1g -Ddb.password=pw", "CONFIG={\"password\": \"pw\"}", "CONFIG={\"db\":{\"client_secret\":\"x\"}}", "CONFIG=db:\n  password: pw\n",
		// keys, tokens, hashes, headers
		"CERT=-----BEGIN RSA PRIVATE KEY-----\nMII\n", "CERT=-----BEGIN PRIVATE KEY-----", "CERT=-----BEGIN OPENSSH PRIVATE KEY-----", "CERT=-----BEGIN PGP PRIVATE KEY BLOCK-----",
		"X=AKIAIOSFODNN7EXAMPLE", "X=ghp_0123456789abcdefghijklmnopqrstuvwxyz", "X=xoxb-1234567890-abcdefghij", "X=glpat-0123456789abcdefghij",
		"X=sk_live_0123456789abcdef", "X=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc", "X=Basic dXNlcjpwYXNz", "X=Authorization: Bearer abcdef012345",
		"X=admin:$2y$05$abcdefghijklmnopqrstuv", "X=$argon2id$v=19$m=1$abc", "X=$6$salt$hash",
		"POSTGRES_PASSWORD_FILE=postgres://app:pw@db/app",
	}
	for _, variable := range secret {
		if name, value, _ := strings.Cut(variable, "="); !Sensitive(name, value) {
			t.Errorf("%s is not taken for a secret", variable)
		}
	}
	open := []string{
		"POSTGRES_USER=app", "DATABASE_URL=postgres://db:5432/app", "KEYBOARD=us", "POSTGRES_PASSWORD_FILE=/run/secrets/x", "TOKEN_TTL=5m", "PORT=4000", "MONKEY=1",
		"COMPASS=n", "URL=http://x/?a=b", "USER_URL=ssh://git@host/x", "=", "PWD=/work", "OLDPWD=/", "NPM=http://npm:4873/@scope/x", "IMAGE=nginx:1.2@sha256:0123abcd",
		"IMAGE=registry:5000/x@sha256:0123abcd", "REPO=git@github.com:a/b.git", "MAIL=a@b.example", "FROM=Shop <shop@b.example>", "TIME=08:30", "RATIO=1:2",
		"HOSTS=a:1,b:2", "U=mongodb://a:27017,b:27017/x", "LOG=user=app level=info", "PROMPT=enter the password, please", "X=$HOME/bin", "T=basic", "HOW=Basic auth",
		"CRON=0 3 * * *", "CERT=-----BEGIN CERTIFICATE-----", "CERT=-----BEGIN PUBLIC KEY-----", "JAVA_OPTS=-Ddb.password=${DB}", "SHA=e3b0c44298fc1c149afbf4c8996fb924",
	}
	for _, variable := range open {
		if name, value, _ := strings.Cut(variable, "="); Sensitive(name, value) {
			t.Errorf("%s is taken for a secret", variable)
		}
	}
}
